#include <doctest/doctest.h>

#include <retort.hpp>
#include <retort/probe/probe.hpp>

#include "support.hpp"

using namespace retort;

namespace {
Tensor<double, 2> pooled(Tensor<double, 3>& p, double alpha) {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Rng rng(0);
  const nn::AutoPool pool{p.extent(2), alpha};
  auto state = pool.make<double, Cpu>(rng);
  auto pass = Pass<double, Cpu>::frozen(tape);
  const auto y = pool.forward(state, pass, tape.constant(p.view()));
  Tensor<double, 2> out(y.shape());
  std::copy(y.value.begin(), y.value.end(), out.begin());
  return out;
}
}  // namespace

TEST_CASE("AutoPool: alpha 0 is the mean over frames, a large alpha the maximum, one in between the formula; gradients") {
  auto p = test::randn(Shape<3>{2, 5, 3}, 1);
  for (double& x : p) x = 1 / (1 + std::exp(-x));
  const auto mean = pooled(p, 0), between = pooled(p, 2.5), top = pooled(p, 1e5);
  for (index_t n = 0; n < 2; ++n)
    for (index_t c = 0; c < 3; ++c) {
      double sum = 0, weighted = 0, weights = 0, best = 0;
      for (index_t t = 0; t < 5; ++t) {
        const double x = p.view()(n, t, c), w = std::exp(2.5 * x);
        sum += x / 5, weighted += x * w, weights += w, best = std::max(best, x);
      }
      CHECK(mean.view()(n, c) == doctest::Approx(sum).epsilon(1e-12));
      CHECK(between.view()(n, c) == doctest::Approx(weighted / weights).epsilon(1e-12));
      CHECK(top.view()(n, c) == doctest::Approx(best).epsilon(1e-12));
    }
  Cpu cpu;
  Rng rng(0);
  const nn::AutoPool pool{3, 1.5};
  auto state = pool.make<double, Cpu>(rng);
  auto marks = test::randn(Shape<2>{2, 3}, 3);
  for (double& x : marks) x = x > 0;
  CHECK(grad_check(cpu, [&](auto& tape, auto x) {
    auto pass = Pass<double, Cpu>::frozen(tape);
    return loss::BinaryCrossEntropy{}(tape, pool.forward(state, pass, x), tape.constant(marks.view()));
  }, p).error < test::tolerance<double>::gradient);
  const auto value = [&](bool backward) {
    Tape<double, Cpu> tape(cpu);
    auto pass = Pass<double, Cpu>::training(tape, Rng(0));
    const auto y = loss::BinaryCrossEntropy{}(tape, pool.forward(state, pass, tape.constant(p.view())), tape.constant(marks.view()));
    if (backward) tape.backward(y);
    return tape.item(y);
  };
  value(true);
  for (index_t c = 0; c < 3; ++c) {
    double& a = state.alpha.value.data()[c];
    const double analytic = state.alpha.grad.data()[c], h = 1e-5;
    a += h;
    const double up = value(false);
    a -= 2 * h;
    const double down = value(false);
    a += h;
    CHECK(analytic == doctest::Approx((up - down) / (2 * h)).epsilon(1e-6));
  }
}

TEST_CASE("average precision: by hand, ties enter together, classes that never occur do not count") {
  using Marks = std::vector<std::uint8_t>;
  const std::vector<double> scores{.9, .8, .7, .6}, tied{.9, .5, .5, .1};
  CHECK(metrics::average_precision(scores, Marks{1, 0, 1, 0}) == doctest::Approx((1 + 2. / 3) / 2));
  CHECK(metrics::average_precision(scores, Marks{0, 0, 0, 1}) == doctest::Approx(.25));
  CHECK(metrics::average_precision(tied, Marks{0, 1, 0, 1}) == doctest::Approx((1. / 3 + 2. / 4) / 2));
  CHECK(metrics::average_precision(tied, Marks{0, 0, 1, 1}) == metrics::average_precision(tied, Marks{0, 1, 0, 1}));
  CHECK_THROWS_AS(metrics::average_precision(scores, Marks{0, 0, 0, 0}), value_error);
  CHECK_THROWS_AS(metrics::average_precision(scores, Marks{1}), shape_error);
  const double s[]{.9, .2, .3, .8, .6, .3, .4, .1, .2};
  const std::uint8_t r[]{1, 0, 0, 1, 1, 0, 0, 0, 0};
  const auto ap = metrics::average_precision(View<const double, 2>{s, {3, 3}}, View<const std::uint8_t, 2>{r, {3, 3}});
  CHECK(ap.macro == doctest::Approx((1. + 1.) / 2));  // class 2 never occurs
  CHECK(ap.micro == doctest::Approx(1.));
}

TEST_CASE("R^2 about zero, in all and by component") {
  Tensor<double, 2> y(Shape<2>{2, 2}), p(Shape<2>{2, 2});
  y.view()(0, 0) = 2, y.view()(1, 0) = -2, y.view()(0, 1) = 1, y.view()(1, 1) = 1;
  p.view()(0, 0) = 1, p.view()(1, 0) = -2;
  const auto r2 = metrics::r_squared(y, p);
  CHECK(r2.component[0] == doctest::Approx(1 - 1. / 8));
  CHECK(r2.component[1] == doctest::Approx(0));
  CHECK(r2.total == doctest::Approx(1 - 3. / 10));
}

TEST_CASE("probes find what is there: a linear one a linear rule, an MLP a ring, AutoPool a mark that one frame shows") {
  Rng rng(4);
  const auto set = [&](auto label) {
    Dataset<2> d{Tensor<float, 2>(Shape<2>{200, 4}), {}, 2, "probe"};
    for (index_t i = 0; i < 200; ++i) {
      for (index_t j = 0; j < 4; ++j) d.inputs.view()(i, j) = static_cast<float>(rng.normal() * (j + 1));
      d.labels.push_back(label(d.inputs.view().row(i)));
    }
    return d;
  };
  const auto side = [](const float* x) { return x[0] + x[1] / 2 > 0; };
  const auto ring = [](const float* x) { return x[0] * x[0] + x[1] * x[1] / 4 > 1.4f; };
  const auto linear = probe::linear(set(side), set(side), {.epochs = 40});
  CHECK(linear.accuracy > 0.95);
  CHECK(linear.average_precision.macro > 0.98);
  CHECK(probe::linear<projection::StandardizeGlobally>(set(side), set(side), {.epochs = 40}).accuracy > 0.9);
  const auto train = set(ring), test_set = set(ring);
  CHECK(probe::mlp({32}, train, test_set, {.epochs = 60}).accuracy > probe::linear(train, test_set, {.epochs = 60}).accuracy + 0.15);

  const auto clips = [&](index_t n) {
    probe::Clips c{test::randn<float>(Shape<3>{n, 6, 4}, rng.next_u64()), Tensor<float, 2>(Shape<2>{n, 2})};
    for (index_t i = 0; i < n; ++i)
      for (index_t k = 0; k < 2; ++k)
        if (rng.uniform() < 0.4f) {
          c.marks.view()(i, k) = 1;
          c.frames.view()(i, static_cast<index_t>(rng.below(6)), k) += 6;
        }
    return c;
  };
  const auto ap = probe::clips({}, clips(200), clips(200), 1, {.epochs = 60});
  CHECK(ap.macro > 0.95);
  CHECK(ap.micro > 0.95);
  auto torn = clips(3);
  torn.marks = Tensor<float, 2>(Shape<2>{2, 2});
  CHECK_THROWS_AS(probe::clips({}, clips(3), torn), shape_error);
}
