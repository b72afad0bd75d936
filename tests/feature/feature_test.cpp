// Feature losses beyond the plain ones: golden values, hand-made cases, differences through their own parameters.
#include <retort/loss/kernels.hpp>
#include <retort/loss/review.hpp>

#include "loss/golden_features.hpp"

using namespace retort;
using namespace retort::loss;
using namespace retort::test;

namespace {

template <class Loss, int R>
void check_gradient(const Loss& loss, Tensor<double, R> s, const Tensor<double, R>& t) {
  Cpu cpu;
  const auto r = grad_check(cpu, [&](auto& tape, auto p) { return loss(tape, p, tape.constant(t.view())); }, s);
  INFO("entry ", r.entry, " analytic ", r.analytic, " numeric ", r.numeric);
  CHECK(r.error < ::test::tolerance<double>::gradient);
}
template <class Loss, int R>
double value_of(const Loss& loss, const Tensor<double, R>& s, const Tensor<double, R>& t) {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  return loss(tape, tape.constant(s.view()), tape.constant(t.view())).value.data[0];
}

}  // namespace

TEST_CASE("VID, OFD, HCL and SRRL's feature part reproduce the golden values") {
  Variational vid;
  std::pair states{vid.make<double, Cpu>(Ft().shape()), vid.make<float, Cpu>(Ft().shape())};
  check_feature("VID: s=Fs; t=Ft; regressor=identity; sigma^2=5 everywhere",
                [&](auto& tape, auto s, auto t) {
                  using T = typename decltype(s)::value_type;
                  auto pass = Pass<T, Cpu>::frozen(tape);
                  return vid(pass, std::get<std::is_same_v<T, float>>(states), s, t);
                },
                Fs(), Ft());
  check_feature("OFD: s=Fs; t=Ft; m=-0.3 for every channel; one layer with weight 1; connector=identity",
                [](auto& tape, auto s, auto t) {
                  using T = typename decltype(s)::value_type;
                  const View<T, 4> m = tape.allocate(Shape<4>{1, 1, 1, 3});
                  std::fill(m.begin(), m.end(), T(-0.3));
                  return OverhaulFeature{}.distance(tape, s, t, tape.constant(View<const T, 4>(m)));
                },
                Fs(), Ft());
  check_feature("ReviewKD_HCL: s=Fs as fused map; t=Ft; pools 2 and 1", HierarchicalContext{}, Fs(), Ft());
  check_feature("SRRL_feature: s=Fs; t=Ft; connector=identity; weight 1",
                [](auto& tape, auto s, auto t) { return Hint{}(tape, global_average_pool(tape, s), global_average_pool(tape, t)); }, Fs(), Ft());
}

TEST_CASE("VID: gradients to the mean and to the variances") {
  Cpu cpu;
  Variational vid{.variance = 2};
  auto state = vid.make<double, Cpu>(Shape<4>{2, 3, 3, 4});
  const auto mu = ::test::randn(Shape{2, 3, 3, 4}, 1), t = ::test::randn(Shape{2, 3, 3, 4}, 2);
  const auto raw = ::test::randn(Shape{4}, 3);
  Tape<double, Cpu> tape(cpu);
  auto pass = Pass<double, Cpu>::training(tape, Rng(1));
  std::copy(raw.begin(), raw.end(), state.raw.value.begin());
  tape.backward(vid(pass, state, tape.constant(mu.view()), tape.constant(t.view())));
  const std::vector<double> slope(state.raw.slot.data, state.raw.slot.data + 4);
  for (index_t c = 0; c < 4; ++c) {
    const auto at = [&](double h) {
      state.raw.value(c) = raw(c) + h;
      tape.reset();
      auto frozen = Pass<double, Cpu>::frozen(tape);
      const double v = vid(frozen, state, tape.constant(mu.view()), tape.constant(t.view())).value.data[0];
      state.raw.value(c) = raw(c);
      return v;
    };
    CHECK(slope[static_cast<std::size_t>(c)] == doctest::Approx((at(1e-4) - at(-1e-4)) / 2e-4).epsilon(1e-6));
  }
}

TEST_CASE("OFD's margin is the mean of the negative part of a normal distribution") {
  for (auto [gamma, beta] : {std::pair{1., 0.}, {0.5, 0.3}, {-2., -1.}}) {
    double sum = 0, mass = 0;  // midpoint rule over the negative half line
    const double sigma = std::abs(gamma), h = sigma / 4000;
    for (double x = -h / 2; x > beta - 9 * sigma && x > -20 * sigma; x -= h) {
      const double density = std::exp(-(x - beta) * (x - beta) / (2 * sigma * sigma));
      sum += x * density, mass += density;
    }
    CHECK(overhaul_margin(gamma, beta) == doctest::Approx(sum / mass).epsilon(1e-5));
  }
  CHECK(overhaul_margin(0.1, 1) == doctest::Approx(-0.3));  // the negative part is next to nothing
}

TEST_CASE("CC with the paper's kernel: by definition, gradient, zero at s = t") {
  const auto s = vector_of(true), t = vector_of(false);
  const CorrelationCongruenceKernel loss;
  double square = 0;
  for (index_t i = 0; i < 4; ++i)
    for (index_t j = 0; j < 4; ++j) {
      double x = 0, y = 0;
      for (index_t d = 0; d < 6; ++d) x += s(i, d) * s(j, d), y += t(i, d) * t(j, d);
      const auto k = [](double v) { return std::exp(-0.8) * (1 + 0.8 * v + 0.32 * v * v); };
      square += (k(x) - k(y)) * (k(x) - k(y));
    }
  CHECK(value_of(loss, s, t) == doctest::Approx(std::sqrt(square) / 16).epsilon(value_tolerance<double>));
  CHECK(value_of(loss, s, s) <= 1e-12);
  check_gradient(loss, s.clone(), t);
}

TEST_CASE("CKA: 0 at equality up to rotation and scale, gradient, other widths") {
  const auto s = vector_of(true), t = vector_of(false);
  const KernelAlignment loss;
  Tensor<double, 2> turned(Shape{4, 6});
  for (index_t i = 0; i < 4; ++i)
    for (index_t d = 0; d < 6; ++d) turned(i, d) = 3 * s(i, (d + 2) % 6) * (d % 2 ? 1 : -1);
  CHECK(std::abs(value_of(loss, s, turned)) < 1e-12);
  const double apart = value_of(loss, s, t);
  CHECK(apart > 0);
  CHECK(apart < 1);
  check_gradient(loss, s.clone(), t);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto map = Fs();
  CHECK(KernelAlignment{}(tape, tape.constant(map.view()), tape.constant(t.view())).value.data[0] > 0);
}

TEST_CASE("larger maps are pooled to the smaller: AT between 4x4 and 2x2") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto s = Fs();
  const auto small = adaptive_average_pool(tape, tape.constant(Ft().view()), 2, 2);
  const auto [a, b] = loss::detail::pool_larger(tape, tape.constant(s.view()), small);
  CHECK(a.shape() == Shape{4, 2, 2, 3});
  CHECK(b.value.data == small.value.data);
}

TEST_CASE("ReviewKD's fusion: attention mixes the stage and the upsampled residual") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  using Review = KnowledgeReview<int>;
  using Stage = Review::State<double, Cpu>::Stage;
  Rng rng(3);
  const auto step = [&](index_t in, index_t out, int kernel) {
    return nn::build<double, Cpu>(Review::Step(nn::Conv2d{in, out, kernel, 1, kernel / 2, 1, false}, nn::BatchNorm{out}), rng);
  };
  auto first = step(2, 2, 1), second = step(2, 3, 3);
  Stage stage{std::move(first), std::move(second), nn::build<double, Cpu>(nn::Conv2d{.in = 4, .out = 2, .kernel = 1, .padding = 0}, rng)};
  for (double& w : get<0>(stage.in.state.states).weight.value) w = 0;
  get<0>(stage.in.state.states).weight.value(0, 0, 0, 0) = get<0>(stage.in.state.states).weight.value(0, 0, 1, 1) = std::sqrt(1 + 1e-5);
  for (double& w : stage.attention->state.weight.value) w = 0;  // z = sigmoid(bias)
  stage.attention->state.bias.value(0) = std::log(3.);         // 3/4 of the stage
  stage.attention->state.bias.value(1) = 0;                    // 1/2 of the residual
  const auto x = ::test::randn(Shape{1, 4, 4, 2}, 1), y = ::test::randn(Shape{1, 2, 2, 2}, 2);
  auto pass = Pass<double, Cpu>::frozen(tape);
  const auto [fused, answer] = Review::fuse(pass, stage, tape.constant(x.view()), tape.constant(y.view()), 8, 8);
  CHECK(fused.shape() == Shape{1, 8, 8, 2});
  CHECK(answer.shape() == Shape{1, 8, 8, 3});
  for (index_t h = 0; h < 8; ++h)
    for (index_t w = 0; w < 8; ++w)
      for (index_t c = 0; c < 2; ++c)
        REQUIRE(fused.value(0, h, w, c) == doctest::Approx(0.75 * x(0, h / 2, w / 2, c) + 0.5 * y(0, h / 4, w / 4, c)));
}
