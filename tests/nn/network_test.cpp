#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/autograd/grad_check.hpp>
#include <retort/nn/network.hpp>

#include "support.hpp"

using namespace retort;
using test::randn;

namespace {
struct stage1;
struct pooled;

auto architecture() {
  using namespace nn;
  return sequential(Conv2d{1, 4}, BatchNorm{4}, Relu{}, Tap<stage1>{},
                    Residual(sequential(Conv2d{4, 4, 3, 1, 1, 1, false}, BatchNorm{4}, Relu{}, Conv2d{4, 4}), nn::Identity{}),
                    Relu{}, MaxPool{2}, GlobalAveragePool{}, Tap<pooled>{}, Linear{4, 3});
}
using Net = decltype(architecture());
}  // namespace

TEST_CASE("taps are typed outputs; a network without taps returns its result alone") {
  Cpu cpu;
  Network<Net> net(architecture(), 1);
  Tape<float, Cpu> tape(cpu);
  auto x = randn<float>(Shape{2, 6, 6, 1}, 1);
  auto pass = Pass<float, Cpu>::frozen(tape);
  const auto out = net.forward(pass, tape.constant(x.view()));
  CHECK(result_of(out).shape() == Shape{2, 3});
  CHECK(tap<stage1>(out).shape() == Shape{2, 6, 6, 4});
  CHECK(tap<pooled>(out).shape() == Shape{2, 4});
  static_assert(HasTap<decltype(out), stage1>);
  static_assert(!HasTap<decltype(out), int>);
  CHECK(net.parameter_count() == (9 * 4 + 4) + 8 + 9 * 16 + 8 + (9 * 16 + 4) + (4 * 3 + 3));
}

TEST_CASE("a fused ReLU behind a layer equals the unfused one, forward and backward") {
  Cpu cpu;
  Network<Net, Double<Cpu>> net(architecture(), 1);
  auto x = randn(Shape{2, 6, 6, 1}, 1);
  auto run = [&](bool fused) {
    Tape<double, Cpu> tape(cpu);
    ReplayLog<Cpu> log;
    if (!fused) tape.set_kinks(Tape<double, Cpu>::Kinks::record, &log);  // recording decisions needs separate ReLUs
    Pass<double, Cpu> pass{tape, true, true, BatchStatistics::batch};
    net.zero_grad();
    const auto in = tape.leaf(View<const double, 4>(x.view()));
    tape.backward(sum(tape, activate(tape, functor::Tanh{}, result_of(net.forward(pass, in)))));
    std::vector<double> out(tape.gradient(in).begin(), tape.gradient(in).end());
    for (const auto& p : net.parameters()) out.insert(out.end(), p.slot->data, p.slot->data + p.value.size());
    return out;
  };
  const auto a = run(true), b = run(false);
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-10));
}

TEST_CASE("a frozen network passes gradients to its input and keeps its own statistics") {
  Cpu cpu;
  Network<Net> net(architecture(), 1);
  Tape<float, Cpu> tape(cpu);
  auto x = randn<float>(Shape{2, 6, 6, 1}, 1);
  std::vector<float> before;
  for (auto& [name, v] : net.tensors()) before.insert(before.end(), v.begin(), v.end());
  auto pass = Pass<float, Cpu>::frozen(tape);
  const auto in = tape.leaf(View<const float, 4>(x.view()));
  net.zero_grad();
  tape.backward(sum(tape, result_of(net.forward(pass, in))));
  double norm = 0;
  for (float g : tape.gradient(in)) norm += std::abs(g);
  CHECK(norm > 0);
  for (const auto& p : net.parameters()) CHECK_FALSE(p.slot->written);
  std::vector<float> after;
  for (auto& [name, v] : net.tensors()) after.insert(after.end(), v.begin(), v.end());
  CHECK(after == before);
}

TEST_CASE("seeds, clones and copies") {
  Network<Net> a(architecture(), 1), b(architecture(), 1), c(architecture(), 2);
  auto values = [](auto& n) {
    std::vector<double> out;
    for (auto& [name, v] : n.tensors()) out.insert(out.end(), v.begin(), v.end());
    return out;
  };
  CHECK(values(a) == values(b));
  CHECK(values(a) != values(c));
  auto d = c.clone();
  CHECK(values(d) == values(c));
  Network<Net, Double<Cpu>> e(architecture(), 9);
  e.copy_from(c);
  CHECK(values(e) == values(c));
  CHECK(a.describe() == b.describe());
}

TEST_CASE("initialisers have the variance they promise") {
  Rng rng(3);
  nn::Parameter<double, 2, Cpu> he(Shape{200, 100}), glorot(Shape{200, 100}), zero(Shape{200, 100});
  nn::initialise(he, nn::Init::he, 200, 100, rng);
  nn::initialise(glorot, nn::Init::glorot, 200, 100, rng);
  nn::initialise(zero, nn::Init::zero, 200, 100, rng);
  auto variance = [](auto& p) {
    double s = 0;
    for (double w : p.value) s += w * w;
    return s / static_cast<double>(p.value.size());
  };
  CHECK(variance(he) == doctest::Approx(2.0 / 200).epsilon(0.03));
  CHECK(variance(glorot) == doctest::Approx(2.0 / 300).epsilon(0.03));
  CHECK(variance(zero) == 0);
}

TEST_CASE("embedding, unflatten, upsample: a small generator") {
  Cpu cpu;
  auto generator = nn::sequential(nn::Linear{5, 2 * 2 * 4}, nn::Unflatten{2, 2, 4}, nn::BatchNorm{4}, nn::Upsample{2},
                                  nn::Conv2d{4, 1}, nn::LeakyRelu{0.2f}, nn::Tanh{});
  Network<decltype(generator)> net(generator, 1);
  Tape<float, Cpu> tape(cpu);
  auto z = randn<float>(Shape{3, 5}, 1);
  auto pass = Pass<float, Cpu>::training(tape, Rng(1));
  CHECK(net.forward(pass, tape.constant(z.view())).shape() == Shape{3, 4, 4, 1});

  auto text = nn::sequential(nn::Embedding{10, 4}, nn::Linear{12, 2});
  Network<decltype(text)> reader(text, 1);
  Tensor<float, 2> ids(Shape{2, 3});
  ids(0, 1) = 9;
  CHECK(reader.forward(pass, tape.constant(ids.view())).shape() == Shape{2, 2});
  ids(1, 2) = 10;
  CHECK_THROWS_AS(reader.forward(pass, tape.constant(ids.view())), value_error);
}

TEST_CASE("layers refuse impossible extents") {
  CHECK_THROWS_AS(Network<nn::Linear>(nn::Linear{0, 3}), value_error);
  CHECK_THROWS_AS((Network<nn::Conv2d>(nn::Conv2d{3, 4, 3, 1, 1, 2})), value_error);
  CHECK_THROWS_AS(Network<nn::BatchNorm>(nn::BatchNorm{}), value_error);
}
