#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/train/learner.hpp>

#include "support.hpp"

using namespace retort;

namespace {
struct Problem {  // one parameter of 37 values (whole vectors and a tail) with a fixed gradient
  Tensor<double, 1> w = test::randn(Shape{37}, 1), g = test::randn(Shape{37}, 2);
  GradientSlot<double> slot{g.data(), true};
  std::vector<ParameterRef<double>> parameters() { return {{w.view(), &slot, true}}; }
};
template <class O>
std::vector<double> run(Problem& p, O optimizer, int steps, double epochs = 1) {
  Cpu cpu;
  Learner<O, double, Cpu> learner(optimizer, p.parameters());
  for (int i = 0; i < steps; ++i) {
    p.slot.written = true;
    learner.step(cpu, 0, epochs);
    CHECK_FALSE(p.slot.written);  // consumed
  }
  return {p.w.begin(), p.w.end()};
}
}  // namespace

TEST_CASE("SGD with momentum, Nesterov and weight decay follows its recurrence") {
  for (bool nesterov : {false, true}) {
    Problem p, q;
    const auto w = run(p, optim::Sgd{.lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f, .nesterov = nesterov}, 3);
    const double lr = 0.1f, mu = 0.9f, wd = 0.01f;
    for (index_t i = 0; i < 37; ++i) {
      double x = q.w(i), v = 0;
      for (int s = 0; s < 3; ++s) {
        const double g = q.g(i) + wd * x;
        v = mu * v + g;
        x -= lr * (nesterov ? g + mu * v : v);
      }
      CHECK(w[static_cast<std::size_t>(i)] == doctest::Approx(x).epsilon(1e-12));
    }
  }
}

TEST_CASE("Adam and AdamW follow theirs") {
  for (bool decoupled : {false, true}) {
    Problem p, q;
    const auto w = decoupled ? run(p, optim::AdamW{.lr = 0.01f, .weight_decay = 0.1f}, 4) : run(p, optim::Adam{.lr = 0.01f, .weight_decay = 0.1f}, 4);
    const double lr = 0.01f, b1 = 0.9f, b2 = 0.999f, eps = 1e-8f, wd = 0.1f;
    for (index_t i = 0; i < 37; ++i) {
      double x = q.w(i), m = 0, v = 0;
      for (int t = 1; t <= 4; ++t) {
        const double g = q.g(i) + (decoupled ? 0 : wd * x);
        if (decoupled) x -= lr * wd * x;
        m = b1 * m + (1 - b1) * g;
        v = b2 * v + (1 - b2) * g * g;
        x -= lr * (m / (1 - std::pow(b1, t))) / (std::sqrt(v / (1 - std::pow(b2, t))) + eps);
      }
      CHECK(w[static_cast<std::size_t>(i)] == doctest::Approx(x).epsilon(1e-10));
    }
  }
}

TEST_CASE("clipping by norm and by value") {
  Cpu cpu;
  Problem p;
  const auto parameters = p.parameters();
  const std::span<const ParameterRef<double>> span(parameters);
  const double norm = optim::clip_gradients(cpu, span, optim::Clip{.norm = 0.5});
  double square = 0, before = 0;
  const auto original = test::randn(Shape{37}, 2);
  for (index_t i = 0; i < 37; ++i) square += p.g(i) * p.g(i), before += original(i) * original(i);
  CHECK(norm == doctest::Approx(std::sqrt(before)));
  CHECK(std::sqrt(square) == doctest::Approx(0.5));
  Problem q;
  const auto others = q.parameters();
  optim::clip_gradients(cpu, std::span<const ParameterRef<double>>(others), optim::Clip{.value = 0.3});
  for (index_t i = 0; i < 37; ++i) CHECK(q.g(i) == doctest::Approx(std::clamp(original(i), -0.3, 0.3)));
}

TEST_CASE("a parameter that no gradient reached stays as it is") {
  Cpu cpu;
  Problem p;
  p.slot.written = false;
  const std::vector<double> before(p.w.begin(), p.w.end());
  Learner<optim::Adam, double, Cpu> learner(optim::Adam{.weight_decay = 0.1f}, p.parameters());
  learner.step(cpu, 0, 1);
  CHECK(std::vector<double>(p.w.begin(), p.w.end()) == before);
}

TEST_CASE("schedules") {
  using namespace optim;
  CHECK(Schedule{}.factor(7, 10) == 1);
  CHECK(Step{.every = 10, .gamma = 0.5}.factor(9.9, 30) == 1);
  CHECK(Step{.every = 10, .gamma = 0.5}.factor(20, 30) == 0.25);
  const MultiStep recipe{.milestones = {150, 180, 210}};
  CHECK(recipe.factor(149, 240) == 1);
  CHECK(recipe.factor(180, 240) == doctest::Approx(0.01));
  CHECK(Cosine{}.factor(0, 10) == 1);
  CHECK(Cosine{}.factor(5, 10) == doctest::Approx(0.5));
  CHECK(Cosine{.floor = 0.1}.factor(10, 10) == doctest::Approx(0.1));
  const CosineWarmRestarts restarts{.period = 4, .growth = 2};
  CHECK(restarts.factor(2, 0) == doctest::Approx(0.5));
  CHECK(restarts.factor(4, 0) == 1);      // restart
  CHECK(restarts.factor(8, 0) == doctest::Approx(0.5));  // half of the second period, which is 8 long
  CHECK(restarts.factor(12, 0) == 1);
  const Schedule warm{.rule = Cosine{}, .warmup = 4};
  CHECK(warm.factor(0, 100) == 0);
  CHECK(warm.factor(2, 100) == doctest::Approx(0.5 * Cosine{}.factor(2, 100)));
  Schedule plateau{.rule = ReduceOnPlateau{.gamma = 0.5, .patience = 1}};
  for (double loss : {3.0, 2.0, 2.0}) plateau.observe(loss);
  CHECK(plateau.factor(0, 0) == 1);
  plateau.observe(2.0);
  CHECK(plateau.factor(0, 0) == 0.5);
}

TEST_CASE("hyper-parameters out of range say what was expected") {
  Problem p;
  CHECK_THROWS_AS((Learner<optim::Sgd, double, Cpu>(optim::Sgd{.momentum = 1}, p.parameters())), value_error);
  CHECK_THROWS_AS((Learner<optim::Adam, double, Cpu>(optim::Adam{.beta1 = 1}, p.parameters())), value_error);
}
