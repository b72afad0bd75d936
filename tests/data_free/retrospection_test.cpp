// Self-retrospection: the hyper-gradient against closed forms, and the search for the perturbation.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/defense/self_retrospection.hpp>
#include <retort/method/hinton.hpp>

#include "support.hpp"

using namespace retort;
using test::randn;

namespace {

// L_in(d, theta) = 1/2 sum_j a_j (d_j - theta_j)^2 (1 + b) - strictly convex, minimiser theta; with c coupling the entries:
//   L_in = 1/2 d' A d - theta' C d,  delta*(theta) = A^-1 C' theta,   L_out = w' d + 1/2 |d|^2 + u' theta.
constexpr index_t n = 3;
struct Quadratic {
  Tensor<double, 2> A{Shape{n, n}}, C{Shape{n, n}}, w{Shape{index_t{1}, n}}, u{Shape{index_t{1}, n}};
  nn::Parameter<double, 2, Cpu> theta{Shape<2>{1, n}};

  Quadratic() {
    const auto r = randn(Shape{n, n}, 1, 0.3);
    for (index_t i = 0; i < n; ++i)
      for (index_t j = 0; j < n; ++j)
        for (index_t k = 0; k < n; ++k) A(i, j) += r(i, k) * r(j, k) + (i == j && k == 0 ? 1.0 : 0.0);  // eigenvalues above 1
    C = randn(Shape{n, n}, 2);
    w = randn(Shape{index_t{1}, n}, 3);
    u = randn(Shape{index_t{1}, n}, 4);
    theta.value = randn(Shape{index_t{1}, n}, 5);
    theta.reserve_gradient();
  }
  auto inner() {
    return [this](Tape<double, Cpu>& tape, Var<double, 2> d, bool learn) {
      const Var<double, 2> p = learn ? tape.leaf(View<const double, 2>(theta.value.view()), theta.slot) : tape.constant(theta.value.view());
      const auto quadratic = sum(tape, multiply(tape, matmul(tape, d, tape.constant(A.view())), d));
      return subtract(tape, scale(tape, 0.5, quadratic), sum(tape, multiply(tape, matmul(tape, p, tape.constant(C.view())), d)));
    };
  }
  auto outer() {
    return [this](Tape<double, Cpu>& tape, Var<double, 2> d, bool) {
      const Var<double, 2> p = tape.leaf(View<const double, 2>(theta.value.view()), theta.slot);
      const auto linear = sum(tape, multiply(tape, d, tape.constant(w.view())));
      const auto own = sum(tape, multiply(tape, p, tape.constant(u.view())));
      return add(tape, add(tape, linear, own), scale(tape, 0.5, sum(tape, multiply(tape, d, d))));
    };
  }
  std::vector<ParameterRef<double>> parameters() { return {{theta.value.view().flat(), &theta.slot, true}}; }
  /// A^-1 x by Richardson iteration to machine precision; A's eigenvalues lie between 1 and 4.
  std::vector<double> solve(std::vector<double> x) const {
    std::vector<double> y(n);
    for (int step = 0; step < 2000; ++step) {
      std::vector<double> residual = x;
      for (index_t i = 0; i < n; ++i)
        for (index_t j = 0; j < n; ++j) residual[std::size_t(i)] -= A(i, j) * y[std::size_t(j)];
      for (std::size_t i = 0; i < n; ++i) y[i] += 0.2 * residual[i];
    }
    return y;
  }
  std::vector<double> minimiser() const {
    std::vector<double> rhs(n);
    for (index_t j = 0; j < n; ++j)
      for (index_t i = 0; i < n; ++i) rhs[std::size_t(j)] += theta.value(0, i) * C(i, j);
    return solve(rhs);
  }
  double outer_at_minimiser() const {
    const auto d = minimiser();
    double value = 0;
    for (index_t j = 0; j < n; ++j) value += (w(0, j) + 0.5 * d[std::size_t(j)]) * d[std::size_t(j)] + u(0, j) * theta.value(0, j);
    return value;
  }
};

std::vector<double> hyper(Quadratic& q, Tensor<double, 2>& delta, defense::NeumannOptions options, double lying_about = 0) {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  defense::NeumannWorkspace<double, Cpu> work;
  auto parameters = q.parameters();
  q.theta.slot.written = lying_about != 0;
  for (double& g : q.theta.grad) g = lying_about;
  options.difference.relative_step = 1e-4;
  defense::hyper_gradient<double, Cpu>(tape, delta.view(), q.inner(), q.outer(), parameters, work, options);
  CHECK(q.theta.slot.written);
  return {q.theta.grad.begin(), q.theta.grad.end()};
}

}  // namespace

TEST_CASE("the converged series equals d/dtheta L_out(delta*(theta), theta) by differences") {
  Quadratic q;
  Tensor<double, 2> delta(Shape{index_t{1}, n});
  const auto at = q.minimiser();
  std::copy(at.begin(), at.end(), delta.begin());
  const auto h = hyper(q, delta, {.eta = 0.3, .terms = 200});
  for (index_t j = 0; j < n; ++j) {
    const double step = 1e-4, before = q.theta.value(0, j);
    q.theta.value(0, j) = before + step;
    const double up = q.outer_at_minimiser();
    q.theta.value(0, j) = before - step;
    const double down = q.outer_at_minimiser();
    q.theta.value(0, j) = before;
    CHECK(h[std::size_t(j)] == doctest::Approx((up - down) / (2 * step)).epsilon(test::tolerance<double>::hvp));
  }
}

TEST_CASE("K = 5 equals the explicit sum of five terms, K = 1 the gradient alone") {
  Quadratic q;
  auto delta = randn(Shape{index_t{1}, n}, 6);
  for (const int terms : {1, 5}) {
    const double eta = 0.3;
    const std::vector<double> before(delta.begin(), delta.end());
    const auto h = hyper(q, delta, {.eta = eta, .terms = terms});
    CHECK(std::equal(delta.begin(), delta.end(), before.begin()));  // bit for bit
    std::vector<double> term(n), v(n);
    for (index_t j = 0; j < n; ++j) term[std::size_t(j)] = q.w(0, j) + delta(0, j);
    for (int k = 0; k < terms; ++k) {
      std::vector<double> next = term;
      for (index_t i = 0; i < n; ++i) {
        v[std::size_t(i)] += term[std::size_t(i)];
        for (index_t j = 0; j < n; ++j) next[std::size_t(i)] -= eta * q.A(i, j) * term[std::size_t(j)];
      }
      term = next;
    }
    for (index_t i = 0; i < n; ++i) {  // d2 L_in / dtheta_i ddelta_j = -C_ij
      double expected = q.u(0, i);
      for (index_t j = 0; j < n; ++j) expected += eta * q.C(i, j) * v[std::size_t(j)];
      CHECK(h[std::size_t(i)] == doctest::Approx(expected).epsilon(test::tolerance<double>::hvp));
    }
  }
}

TEST_CASE("what lies in the gradient slots stays and is added to") {
  Quadratic q;
  auto delta = randn(Shape{index_t{1}, n}, 6);
  const auto alone = hyper(q, delta, {}), on_top = hyper(q, delta, {}, 2.0);
  for (std::size_t i = 0; i < n; ++i) CHECK(on_top[i] == doctest::Approx(alone[i] + 2));
  CHECK_THROWS_AS(hyper(q, delta, {.terms = 0}), value_error);
}

namespace {

using Mlp = nn::Sequential<nn::Linear, nn::Tanh, nn::Linear>;
Mlp mlp() { return Mlp(nn::Linear{4, 12}, nn::Tanh{}, nn::Linear{12, 3}); }
using Student = student::Trainable<Mlp, Double<Cpu>>;
using Retrospective = defense::SelfRetrospection<Student>;
using FirstOrder = defense::SelfRetrospectionFirstOrder<Student>;

/// One student turn of a method on a batch; returns the parameters' change per unit of learning rate.
template <class S>
std::vector<double> turn(S student, Network<Mlp, Double<Cpu>>& network, index_t batch_size, Progress progress = {}) {
  Network<Mlp, Double<Cpu>> teacher(mlp(), 1);
  using Method = Distiller<teacher::Frozen<Mlp, Double<Cpu>>, S, loss::KlMean, censor::None, source::Dataset, predict::StudentOnly, Double<Cpu>>;
  Method method{teacher, std::move(student)};
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Learner<optim::Sgd, double, Cpu> learner(optim::Sgd{.lr = 1e-3f}, method.student_policy().parameters());
  learner.zero_grad();
  const auto x = randn(Shape{batch_size, index_t{4}}, 3);
  const source::Batch<double, 2> batch{x.view(), {}, {}};
  std::vector<double> before, after;
  for (auto& [name, v] : network.tensors()) before.insert(before.end(), v.begin(), v.end());
  method.take_turn(Block::student, tape, learner, batch, progress, Rng(1));
  for (auto& [name, v] : network.tensors()) after.insert(after.end(), v.begin(), v.end());
  for (std::size_t i = 0; i < after.size(); ++i) after[i] = (before[i] - after[i]) / 1e-3;
  if constexpr (requires { method.student_policy().calls(); }) {
    const bool acts = progress.epochs == 0 || progress.position >= method.student_policy().options.start * progress.epochs;
    CHECK(method.student_policy().calls() == (acts ? 1 : 0));
    if (acts) CHECK(method.student_policy().perturbation_norm() > 0.1);
  }
  return after;
}
double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double d = 0;
  for (std::size_t i = 0; i < a.size(); ++i) d = std::max(d, std::abs(a[i] - b[i]));
  return d;
}

}  // namespace

TEST_CASE("the search stalls at 0 and rises from noise") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Network<Mlp, Double<Cpu>> model(mlp(), 1);
  const auto x = randn(Shape{8, 4}, 3);
  Tensor<double, 2> clean(Shape{8, 3}), m(Shape{1, 4}), v(Shape{1, 4});
  const auto logits = [&](auto& t, Var<double, 2> d) {
    auto pass = Pass<double, Cpu>::frozen(t);
    return model.forward(pass, add(t, t.constant(x.view()), d));
  };
  const auto objective = [&](Tape<double, Cpu>& t, Var<double, 2> d) {
    return scale(t, -1, row_loss(t, loss::KlMean{}, RowLossInputs<double>{.student = logits(t, d), .teacher = t.constant(View<const double, 2>(clean.view()))}));
  };
  Tensor<double, 2> zero(Shape{1, 4});
  {
    const auto z = logits(tape, tape.constant(View<const double, 2>(zero.view())));
    std::copy(z.value.begin(), z.value.end(), clean.begin());
  }
  tape.reset();  // 0 is an exact stationary point: rounding is all that is left of the gradient
  const auto at_zero = tape.leaf(View<const double, 2>(zero.view()));
  tape.backward(objective(tape, at_zero));
  for (index_t i = 0; i < 4; ++i) CHECK(std::abs(tape.gradient(at_zero).data[i]) < 1e-15);

  auto delta = randn(Shape{1, 4}, 4, 1e-3);
  double last = 0;
  for (int steps = 1; steps <= 10; ++steps) {
    auto start = delta.clone();
    const double kl = -defense::search_perturbation<double, Cpu>(tape, start.view(), m.view(), v.view(), steps, 0.1, objective);
    CHECK(kl > last);
    last = kl;
  }
  CHECK(last > 1e-2);
}

TEST_CASE("the student's step gets the hyper-gradient on top, late in the run only") {
  Network<Mlp, Double<Cpu>> start(mlp(), 2);
  const auto run = [&](auto make, index_t batch, Progress progress = {}) {
    auto network = start.clone();
    return turn(make(network), network, batch, progress);
  };
  const auto plain = run([](auto& net) { return Student(net); }, 60);
  const auto late = run([](auto& net) { return Retrospective(net); }, 60);
  const auto early = run([](auto& net) { return Retrospective(net); }, 60, {.epochs = 10, .position = 5});
  CHECK(distance(plain, early) == 0);
  CHECK(distance(plain, late) > 1e-4);
  // Fewer than 50 rows still patch one: int(0.02 * 20) would be none, and h would be 0.
  const auto few = run([](auto& net) { return Student(net); }, 20);
  CHECK(distance(few, run([](auto& net) { return Retrospective(net); }, 20)) > 1e-5);
  // Without weight nothing of the outer loss is left.
  const auto none = run([](auto& net) { return Retrospective(net, {.weight = 0}); }, 60);
  CHECK(distance(plain, none) < 1e-9);
}

TEST_CASE("the first-order form adds the gradient of the divergence at a bounded perturbation") {
  Network<Mlp, Double<Cpu>> start(mlp(), 2);
  auto a = start.clone(), b = start.clone(), c = start.clone();
  const auto plain = turn(Student(a), a, 30);
  FirstOrder first(b);
  CHECK(first.options.search_rate == 10);
  const auto with = turn(std::move(first), b, 30);
  CHECK(distance(plain, with) > 1e-4);
  const auto without = turn(FirstOrder(c, {.search_rate = 10, .penalty = 0, .weight = 0}), c, 30);
  CHECK(distance(plain, without) < 1e-9);
}
