// Hessian-vector products by replayed differences against a double-precision reference.
#include <doctest/doctest.h>

#include <retort/autograd/hvp.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/nn/network.hpp>

#include "support.hpp"

using namespace retort;
using test::randn;

namespace {

using Net = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
Net architecture() { return Net(nn::Linear{48, 64}, nn::Relu{}, nn::Linear{64, 10}); }

// L(delta, theta) = -KL(softmax(S(x)) || softmax(S(x + delta))), one universal perturbation: the inner loss of ABD.
template <class T>
struct Inner {
  Network<Net, std::conditional_t<std::is_same_v<T, double>, Double<Cpu>, Cpu>>& net;
  View<const T, 2> x, q, log_q;  // q = softmax at the unperturbed point, constant
  Var<T, 1> operator()(Tape<T, Cpu>& tape, Var<T, 2> delta) const {
    Pass<T, Cpu> pass{tape, true, true, BatchStatistics::batch};
    const auto logits = net.forward(pass, add(tape, tape.constant(x), delta));
    const auto log_p = log_softmax(tape, logits);
    const auto kl = sum(tape, multiply(tape, tape.constant(q), subtract(tape, tape.constant(log_q), log_p)));
    return scale(tape, T(-1) / static_cast<T>(x.shape[0]), kl);
  }
};

template <class T>
struct Products {
  std::vector<double> hv, mixed;
};

template <class T>
Products<T> products(Network<Net, Double<Cpu>>& reference, double step) {
  using B = std::conditional_t<std::is_same_v<T, double>, Double<Cpu>, Cpu>;
  Cpu cpu;
  Network<Net, B> net(architecture());
  net.copy_from(reference);
  auto x = randn<T>(Shape{64, 48}, 31), delta = randn<T>(Shape{1, 48}, 32, 0.05), v = randn<T>(Shape{1, 48}, 33);
  Tape<T, Cpu> tape(cpu);
  Tensor<T, 2> q(Shape{64, 10}), log_q(Shape{64, 10});
  {
    NoGrad off(tape);
    auto pass = Pass<T, Cpu>::frozen(tape);
    const auto lq = log_softmax(tape, net.forward(pass, tape.constant(x.view())));
    for (index_t i = 0; i < q.size(); ++i) {
      log_q.data()[i] = lq.value.data[i];
      q.data()[i] = std::exp(lq.value.data[i]);
    }
  }
  Inner<T> inner{net, x.view(), q.view(), log_q.view()};
  const auto parameters = net.parameters();
  std::vector<Tensor<T, 1>> mixed;
  std::vector<View<T, 1>> views;
  for (const auto& p : parameters) mixed.emplace_back(p.value.shape);
  for (auto& m : mixed) views.push_back(m.view());
  Tensor<T, 2> hv(Shape{1, 48});
  ReplayLog<Cpu> log;
  const auto before = delta.clone();
  hvp<T, Cpu>(tape, delta.view(), v.view(), inner, hv.view(), parameters, views, log, {step});
  for (index_t i = 0; i < delta.size(); ++i) CHECK(delta.data()[i] == before.data()[i]);
  Products<T> out{{hv.begin(), hv.end()}, {}};
  for (auto& m : mixed) out.mixed.insert(out.mixed.end(), m.begin(), m.end());
  return out;
}

double relative(const std::vector<double>& a, const std::vector<double>& b) {
  double d = 0, n = 0;
  for (std::size_t i = 0; i < a.size(); ++i) d += (a[i] - b[i]) * (a[i] - b[i]), n += b[i] * b[i];
  return std::sqrt(d / n);
}

}  // namespace

TEST_CASE("float Hessian-vector products through a ReLU net agree with double") {
  Network<Net, Double<Cpu>> net(architecture(), 5);
  const auto reference = products<double>(net, 1e-4);
  const auto single = products<float>(net, HvpOptions{}.relative_step);
  CHECK(relative(single.hv, reference.hv) < test::tolerance<float>::hvp);
  CHECK(relative(single.mixed, reference.mixed) < test::tolerance<float>::hvp);
  // Two double steps agree: the reference itself has converged.
  const auto half = products<double>(net, 5e-5);
  CHECK(relative(half.hv, reference.hv) < test::tolerance<double>::hvp);
  CHECK(relative(half.mixed, reference.mixed) < test::tolerance<double>::hvp);
}

TEST_CASE("a quadratic form has an exact Hessian") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  auto a = randn(Shape{6, 6}, 41), x = randn(Shape{1, 6}, 42), v = randn(Shape{1, 6}, 43);
  Tensor<double, 2> hv(Shape{1, 6});
  ReplayLog<Cpu> log;
  hvp<double, Cpu>(tape, x.view(), v.view(),
                   [&](auto& t, Var<double, 2> p) {
                     return scale(t, 0.5, sum(t, multiply(t, p, matmul(t, p, t.constant(a.view())))));
                   },
                   hv.view(), {}, {}, log);
  for (index_t i = 0; i < 6; ++i) {
    double expected = 0;
    for (index_t j = 0; j < 6; ++j) expected += 0.5 * (a(i, j) + a(j, i)) * v(0, j);
    CHECK(hv(0, i) == doctest::Approx(expected).epsilon(1e-9));
  }
}

TEST_CASE("replay freezes ReLU signs, pooling winners, dropout masks and running statistics") {
  Cpu cpu;
  auto arch = nn::sequential(nn::Conv2d{1, 4}, nn::BatchNorm{4}, nn::Relu{}, nn::MaxPool{2}, nn::Dropout{0.3f}, nn::Flatten{},
                             nn::Linear{4 * 4 * 4, 3});
  Network<decltype(arch), Double<Cpu>> net(arch, 2);
  auto x = randn(Shape{4, 8, 8, 1}, 51);
  Tape<double, Cpu> tape(cpu);
  ReplayLog<Cpu> log;
  using Kinks = Tape<double, Cpu>::Kinks;
  auto run = [&](Kinks mode) {
    tape.reset();
    tape.set_kinks(mode, &log);
    auto pass = Pass<double, Cpu>::training(tape, Rng(9));
    const auto y = net.forward(pass, tape.constant(x.view()));
    return std::vector<double>(y.value.begin(), y.value.end());
  };
  const auto statistics = [&] {
    std::vector<double> out;
    net.visit([&](const std::string&, auto& p) {
      if constexpr (!requires { p.slot; }) out.insert(out.end(), p.value.begin(), p.value.end());
    });
    return out;
  };
  const auto before = statistics();
  const auto base = run(Kinks::record);
  CHECK(run(Kinks::replay) == base);
  CHECK(statistics() == before);
  // Along a line the replayed network is smooth.
  auto at = [&](double s) {
    auto d = randn(Shape{4, 8, 8, 1}, 52);
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] += s * d.data()[i];
    auto y = run(Kinks::replay);
    for (index_t i = 0; i < x.size(); ++i) x.data()[i] -= s * d.data()[i];
    return y[0];
  };
  // Third differences of a smooth function shrink eightfold when the step is halved.
  auto third = [&](double h) { return at(2 * h) - 2 * at(h) + 2 * at(-h) - at(-2 * h); };
  CHECK(third(0.02) / third(0.01) == doctest::Approx(8).epsilon(0.05));
  // A different program is refused.
  tape.reset();
  tape.set_kinks(Kinks::replay, &log);
  CHECK_THROWS_AS(activate(tape, functor::Relu{}, tape.constant(x.view())), error);
}
