// CRD: the fused kernel against the golden value and differences, the bank, the choice of negatives, memory.
#include <retort/loss/contrastive.hpp>
#include <retort/method/roles.hpp>

#include "loss/golden_features.hpp"

using namespace retort;
using namespace retort::test;

namespace {

struct feature;
struct Fixture {
  index_t samples, classes, rows;
  Dataset<2> data;
  std::vector<std::int64_t> ids;
  Fixture(index_t n, index_t c, index_t batch)
      : samples(n), classes(c), rows(batch), data{Tensor<float, 2>(Shape{n, index_t{1}}), {}, static_cast<int>(c), "none"} {
    for (index_t i = 0; i < n; ++i) data.labels.push_back(static_cast<std::int32_t>(i * i % c));
    for (index_t i = 0; i < batch; ++i) ids.push_back((7 * i + 3) % n);
  }
};
template <class T>
auto exchange_of(Tape<T, Cpu>& tape, Fixture& f, Var<T, 2> s, Var<T, 2> t) {
  using Tapped = Output<Var<T, 2>, Tapped<feature, Var<T, 2>>>;
  return Exchange<T, Cpu, Var<T, 2>, Tapped, Tapped>{tape, s, {}, {f.ids.data(), {f.rows}}, {s, {{s}}}, {t, {{t}}}};
}

}  // namespace

TEST_CASE("the fused contrast reproduces the golden value and its gradient") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const double tau = 0.07, z = 3;
  const auto score = [](int n, int k) { return 0.01 + 0.005 * (n + k); };
  Tensor<double, 2> v(Shape{4, 8}), bank(Shape{32, 8});  // row 8n + k of the bank gives score (n, k) through coordinate k
  Tensor<std::int32_t, 2> index(Shape{4, 8});
  for (int n = 0; n < 4; ++n)
    for (int k = 0; k < 8; ++k) {
      v(n, k) = 1;
      bank(8 * n + k, k) = tau * std::log(z * score(n, k));
      index(n, k) = 8 * n + k;
    }
  const auto leaf = tape.leaf(View<const double, 2>(v.view()));
  const auto y = contrast(tape, leaf, View<const double, 2>(bank.view()), View<const std::int32_t, 2>(index.view()), tau, z, 7. / 50);
  tape.backward(y);
  const auto golden = read_golden().at("CRD_NCE_half: s=x; K=7; n_data=50; eps=1e-7; one direction");
  CHECK(std::abs(y.value.data[0] - golden.value) <= 1e-9 * golden.value);
  double norm = 0;
  for (int n = 0; n < 4; ++n)
    for (int k = 0; k < 8; ++k) {  // dv = dL/dx * x / tau * bank
      const double dx = tape.gradient(leaf)(n, k) / (score(n, k) * std::log(z * score(n, k)));
      norm += dx * dx;
    }
  CHECK(std::abs(std::sqrt(norm) - golden.gradient_norm) <= 1e-6 * golden.gradient_norm);
}

TEST_CASE("the contrast's gradient agrees with differences; threads change nothing; float is close") {
  Cpu cpu, two(2);
  auto v = ::test::randn(Shape{5, 19}, 1, 0.2), bank = ::test::randn(Shape{60, 19}, 2, 0.2);
  Tensor<std::int32_t, 2> index(Shape{5, 131});
  Rng rng(4);
  for (auto& i : index) i = static_cast<std::int32_t>(rng.below(60));
  const View<const std::int32_t, 2> at = index.view();
  const auto loss = [&](auto& tape, auto p) { return contrast(tape, p, View<const double, 2>(bank.view()), at, 0.3, 40, 2.); };
  const auto r = grad_check(cpu, loss, v);
  INFO("entry ", r.entry, " analytic ", r.analytic, " numeric ", r.numeric);
  CHECK(r.error < ::test::tolerance<double>::gradient);
  Tensor<double, 2> g1(v.shape()), g2(v.shape());
  const double one = Kernels<Cpu>::contrast(cpu, 0.3, 40, 2, View<const double, 2>(v.view()), View<const double, 2>(bank.view()), at, g1.view());
  const double other = Kernels<Cpu>::contrast(two, 0.3, 40, 2, View<const double, 2>(v.view()), View<const double, 2>(bank.view()), at, g2.view());
  CHECK(one == other);
  CHECK(std::equal(g1.begin(), g1.end(), g2.begin()));
  Tensor<float, 2> vf(v.shape()), bf(bank.shape());
  std::copy(v.begin(), v.end(), vf.begin());
  std::copy(bank.begin(), bank.end(), bf.begin());
  CHECK(Kernels<Cpu>::contrast(cpu, 0.3, 40, 2, View<const float, 2>(vf.view()), View<const float, 2>(bf.view()), at, View<float, 2>{}) ==
        doctest::Approx(one).epsilon(::test::tolerance<float>::value));
}

TEST_CASE("a permutation without memory visits every entry once, whatever the size") {
  for (index_t n : {1, 2, 3, 16, 17, 1000, 4097}) {
    std::vector<int> seen(static_cast<std::size_t>(n));
    const Permutation p(n, Rng(7).fork(static_cast<std::uint64_t>(n)));
    for (index_t i = 0; i < n; ++i) ++seen[static_cast<std::size_t>(p(i))];
    CHECK(std::count(seen.begin(), seen.end(), 1) == n);
  }
}

TEST_CASE("CRD in a step: the value by definition, negatives of other classes, the bank moves at the sample alone") {
  Fixture f(30, 3, 4);
  f.ids = {3, 9, 15, 24};  // all of class 0, which has 10 samples
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto s = ::test::randn(Shape{4, 6}, 1), t = ::test::randn(Shape{4, 9}, 2);
  const loss::Contrastive<feature> crd{.weight = 1, .negatives = 5, .width = 4, .temperature = 0.5};
  auto exchange = exchange_of<double>(tape, f, tape.constant(s.view()), tape.constant(t.view()));
  exchange.rng = Rng(5);
  loss::Start<decltype(exchange), Cpu, Dataset<2>> start{exchange, 3, f.samples, f.data, Rng(1)};
  auto state = crd.make(start);
  const auto copy = [](const auto& b) { return std::vector<double>(b.value.begin(), b.value.end()); };
  const auto s_bank = copy(state.student_bank), t_bank = copy(state.teacher_bank);

  const double value = crd.evaluate(exchange, state).value.data[0];
  const double zs = state.normalizers.value(0), zt = state.normalizers.value(1);
  CHECK(zs > 0);
  CHECK(zt > 0);
  // The embeddings again, by hand, and which rows of the banks moved.
  const auto embed = [&](const auto& head, const auto& x, index_t n) {
    std::vector<double> out(4);
    double square = 0;
    for (index_t d = 0; d < 4; ++d) {
      for (index_t k = 0; k < x.extent(1); ++k) out[static_cast<std::size_t>(d)] += x(n, k) * head.state.weight.value(k, d);
      square += out[static_cast<std::size_t>(d)] * out[static_cast<std::size_t>(d)];
    }
    for (double& e : out) e /= std::sqrt(square);
    return out;
  };
  for (index_t i = 0; i < f.samples; ++i) {
    const auto at = std::find(f.ids.begin(), f.ids.end(), i) - f.ids.begin();
    for (index_t d = 0; d < 4; ++d) {
      const auto k = static_cast<std::size_t>(4 * i + d);
      if (at == 4) {
        CHECK(state.student_bank.value.data()[k] == s_bank[k]);
        continue;
      }
      const auto v = embed(state.student, s, at);
      double square = 0;
      for (std::size_t e = 0; e < 4; ++e) square += std::pow(0.5 * s_bank[static_cast<std::size_t>(4 * i) + e] + 0.5 * v[e], 2);
      CHECK(state.student_bank.value.data()[k] == doctest::Approx((0.5 * s_bank[k] + 0.5 * v[static_cast<std::size_t>(d)]) / std::sqrt(square)));
    }
  }
  // With as many negatives as there are samples of other classes each of these is met once, so the value is known.
  loss::Contrastive<feature> full = crd;
  full.negatives = 20;
  {
    std::copy(s_bank.begin(), s_bank.end(), state.student_bank.value.begin());
    std::copy(t_bank.begin(), t_bank.end(), state.teacher_bank.value.begin());
    const double c = static_cast<double>(full.negatives) / 30, eps = 1e-7;
    double expected = 0;
    for (index_t n = 0; n < 4; ++n) {
      const auto side = [&](const std::vector<double>& v, const std::vector<double>& bank, double z) {
        for (index_t i = 0; i < 30; ++i) {
          const bool own = i == f.ids[static_cast<std::size_t>(n)];
          if (!own && f.data.labels[static_cast<std::size_t>(i)] == f.data.labels[static_cast<std::size_t>(f.ids[static_cast<std::size_t>(n)])]) continue;
          double dot = 0;
          for (std::size_t d = 0; d < 4; ++d) dot += v[d] * bank[static_cast<std::size_t>(4 * i) + d];
          const double p = std::exp(dot / 0.5) / z;
          expected -= own ? std::log(p / (p + c + eps)) : std::log(c / (p + c + eps));
        }
      };
      side(embed(state.student, s, n), t_bank, zs);
      side(embed(state.teacher, t, n), s_bank, zt);
    }
    CHECK(full.evaluate(exchange, state).value.data[0] == doctest::Approx(expected / 4).epsilon(1e-9));
  }
  CHECK(std::isfinite(value));
}

TEST_CASE("at its defaults and a batch of 64, CRD's temporaries stay below 20 MB where gathered rows would take 537 MB a side") {
  Fixture f(20000, 100, 64);
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  const auto s = ::test::randn<float>(Shape{64, 256}, 1), t = ::test::randn<float>(Shape{64, 256}, 2);
  auto exchange = exchange_of<float>(tape, f, tape.constant(s.view()), tape.constant(t.view()));
  loss::Start<decltype(exchange), Cpu, Dataset<2>> start{exchange, 100, f.samples, f.data, Rng(1)};
  const loss::Contrastive<feature> crd;
  auto state = crd.make(start);
  tape.backward(crd.evaluate(exchange, state));
  CHECK(tape.capacity() + cpu.scratch().capacity() < 20'000'000);
}

TEST_CASE("CRD says what it needs: ids, negatives of another class") {
  Fixture f(10, 1, 2);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto s = ::test::randn(Shape{2, 6}, 1);
  auto exchange = exchange_of<double>(tape, f, tape.constant(s.view()), tape.constant(s.view()));
  const loss::Contrastive<feature> crd{.negatives = 3};
  {
    loss::Start<decltype(exchange), Cpu, Dataset<2>> start{exchange, 1, f.samples, f.data, Rng(1)};
    CHECK_THROWS_WITH_AS(crd.make(start), doctest::Contains("all samples are of one class"), value_error);
  }
  Fixture g(10, 2, 2);
  loss::Start<decltype(exchange), Cpu, Dataset<2>> start{exchange, 2, g.samples, g.data, Rng(1)};
  auto state = crd.make(start);
  exchange.ids = {};
  CHECK_THROWS_WITH_AS(crd.evaluate(exchange, state), doctest::Contains("the source must name its samples"), value_error);
}
