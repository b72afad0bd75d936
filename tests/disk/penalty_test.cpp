// The budget, its schedules, and how the partition term decides who is helped.
#include <doctest/doctest.h>

#include "fixture.hpp"

using namespace retort;
using namespace retort::censor;
using test::Batch;

namespace {
template <class P, class Loss>
double value_of(P penalty, const Loss& loss, Batch& b, typename P::Record* record = nullptr, std::vector<double>* by_gate = nullptr) {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto g = tape.leaf(View<const double, 2>(b.gate.view()));
  auto turn = b.turn(tape, tape.constant(View<const double, 2>(b.student.view())), g, Block::censor);
  typename P::Record mine;
  const auto v = penalty.evaluate(turn, loss, record ? *record : mine);
  tape.backward(v);
  if (by_gate) by_gate->assign(tape.gradient(g).begin(), tape.gradient(g).end());
  return v.value.data[0];
}
const loss::Scaffolded<loss::TopClasses> top3{.help = {3}};

template <class Reference, class Norm, class Partition>
void check_gradients() {
  for (double budget : {0.05, 50.})          // active and inactive
    for (double max_ce : {0.8, 100.}) {      // some charges clipped, and none
      CAPTURE(budget);
      CAPTURE(max_ce);
      Batch b(9, 6);
      Penalty<Reference, Norm, Partition, ConstantPrice> penalty{.price = {2.5}, .budget = Budget::constant(budget), .max_ce = max_ce};
      Cpu cpu;
      const auto r = grad_check(cpu, [&](auto& tape, auto zs, auto g) {
        auto turn = b.turn(tape, zs, g);
        typename decltype(penalty)::Record record;
        return penalty.evaluate(turn, top3, record);
      }, b.student, b.gate);
      INFO("input ", r.input, " entry ", r.entry, " analytic ", r.analytic, " numeric ", r.numeric);
      CHECK(r.error < test::tolerance<double>::gradient);
    }
}
}  // namespace

TEST_CASE("penalty: gradients to gates and student by differences; active and inactive, clipped and not") {
  check_gradients<TrueLabel, PerSample, NoPartition>();
  check_gradients<TrueLabel, PerError, NoPartition>();
  check_gradients<TeacherArgmax, PerError, CodeScale>();
  check_gradients<TeacherArgmax, PerError, CommonScale>();
}

TEST_CASE("penalty: the value by its formula, row by row") {
  Batch b(9, 6);
  Penalty<TrueLabel, PerError, CommonScale, ConstantPrice> penalty{.price = {3}, .budget = Budget::constant(0.1), .max_ce = 1.5};
  double used = 0, log_term = 0;
  int errors = 0;
  for (index_t r = 0; r < 9; ++r) {
    const double* z = b.student.view().row(r);
    const auto y = static_cast<std::size_t>(b.labels[static_cast<std::size_t>(r)]);
    used += b.gate(r, 0) * std::min(1.5, -std::log(test::softmax(z, 6)[y]));
    log_term += std::log(1 + 3 * b.gate(r, 0)) / 9;
    errors += std::max_element(z, z + 6) - z != static_cast<std::ptrdiff_t>(y);
  }
  REQUIRE(errors > 1);
  decltype(penalty)::Record record;
  CHECK(value_of(penalty, top3, b, &record) == doctest::Approx(3 * (used / errors - 0.1) + 0.9 * 3.5 * 4 * log_term).epsilon(1e-10));
  CHECK(record.used == doctest::Approx(used / errors));
  CHECK(record.errors == errors);
}

TEST_CASE("no misclassified sample in the batch: finite, divided by one") {
  Batch b(5, 6);
  for (index_t r = 0; r < 5; ++r) b.student(r, b.labels[static_cast<std::size_t>(r)]) = 30;
  std::vector<double> g;
  Penalty<TrueLabel, PerError, CommonScale, ConstantPrice> penalty{};
  decltype(penalty)::Record record;
  CHECK(std::isfinite(value_of(penalty, top3, b, &record, &g)));
  CHECK(record.errors == 0);
  for (double x : g) CHECK(std::isfinite(x));
}

TEST_CASE("a free gate under the budget alone settles where the formula says: clip(1/(mu b) - p, 0, 1)") {
  // One dominant class, poster form, scale one. mu = lambda N / norm with an active budget.
  const index_t n = 40;
  Batch b(n, 2);
  for (index_t r = 0; r < n; ++r) {
    b.teacher(r, 0) = b.labels[static_cast<std::size_t>(r)] == 0 ? 40 : -40;
    b.teacher(r, 1) = -b.teacher(r, 0);
  }
  const loss::ScaffoldedPoster loss{.hint = {.temperature = 1, .teacher_temperature = 1, .weight = 1}, .hard = {.weight = 0}};
  const double lambda = 0.9;
  Penalty<TrueLabel, PerSample, NoPartition, ConstantPrice> penalty{.price = {lambda}, .budget = Budget::constant(0)};
  for (double& g : b.gate) g = 0.5;
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  for (int step = 0; step < 4000; ++step) {  // projected gradient descent
    tape.reset();
    const auto g = tape.leaf(View<const double, 2>(b.gate.view()));
    auto turn = b.turn(tape, tape.constant(View<const double, 2>(b.student.view())), g, Block::censor);
    decltype(penalty)::Record record;
    tape.backward(add(tape, loss.evaluate_gated(turn), penalty.evaluate(turn, loss, record)));
    for (index_t r = 0; r < n; ++r) b.gate(r, 0) = std::clamp(b.gate(r, 0) - 0.5 * tape.gradient(g).data[r], 0., 1.);
  }
  int inside = 0;
  for (index_t r = 0; r < n; ++r) {
    const double p = test::softmax(b.student.view().row(r), 2)[static_cast<std::size_t>(b.labels[static_cast<std::size_t>(r)])];
    const double expected = std::clamp(1 / (lambda * -std::log(p)) - p, 0., 1.);
    inside += expected > 0 && expected < 1;
    CHECK(b.gate(r, 0) == doctest::Approx(expected).epsilon(1e-3));
  }
  CHECK(inside >= 5);
}

TEST_CASE("selection: on the common scale help pays where p < 1/K only; on the code's scale it always pays") {
  const index_t classes = 10;
  for (double g : {0.02, 0.3, 0.9})
    for (double p : {0.001, 0.05, 0.099, 0.101, 0.2, 0.6, 0.99}) {
      Batch b(1, classes);
      b.gate(0, 0) = g;
      b.labels[0] = 4;
      const double t = 3.5;  // the student's temperature: p is its probability there
      for (index_t c = 0; c < classes; ++c) {
        b.teacher(0, c) = c == 4 ? 400 : -400;  // one dominant class, sum of tt = 1
        b.student(0, c) = t * std::log(c == 4 ? p : (1 - p) / 9);
      }
      const loss::ScaffoldedSoftTargets loss{};
      const auto slope = [&]<class Partition>(Partition) {
        Cpu cpu;
        Tape<double, Cpu> tape(cpu);
        const auto gate = tape.leaf(View<const double, 2>(b.gate.view()));
        auto turn = b.turn(tape, tape.constant(View<const double, 2>(b.student.view())), gate, Block::censor);
        Penalty<TrueLabel, PerError, Partition, ConstantPrice> free{.price = {0}};
        typename decltype(free)::Record record;
        tape.backward(add(tape, loss.evaluate_gated(turn), free.evaluate(turn, loss, record)));
        return tape.gradient(gate).data[0];
      };
      CAPTURE(p);
      CAPTURE(g);
      CHECK((slope(CommonScale{}) < 0) == (p < 0.1));
      CHECK(slope(NoPartition{}) < 0);
      const double by_code = slope(CodeScale{});
      CHECK(by_code == doctest::Approx(0.9 * (10 / (1 + 10 * g) - 14 / (p + g))).epsilon(1e-9));
      CHECK(by_code < 0);
    }
}

TEST_CASE("schedules: the price rises and restarts, the budget falls, decays and never passes its floor") {
  const CosinePrice price{.min = 1, .max = 5, .period = 50};
  CHECK(price.value(0) == 1);
  CHECK(price.value(25) == doctest::Approx(3));
  CHECK(price.value(49) > 4.9);
  CHECK(price.value(50) == 1);
  const Budget budget{.min = 0.4, .max = 0.6, .period = 20, .decay = 0.9};
  CHECK(budget.value(0) == 0.6);
  CHECK(budget.value(10) == doctest::Approx(0.5));
  CHECK(budget.value(20) == doctest::Approx(0.54));
  for (int e = 80; e < 200; ++e) CHECK(budget.value(e) == doctest::Approx(0.4));  // 0.6 * 0.9^4 < 0.4
  for (int e = 0; e < 200; ++e) CHECK(budget.value(e) >= 0.4 - 1e-15);

  DualAscent dual{.start = 1, .rate = 0.5, .restart = 10};
  CHECK(dual.value(0) == 1);
  dual.observe(0.2);
  dual.observe(0.4);
  CHECK(dual.value(0) == 1);
  CHECK(dual.value(1) == doctest::Approx(1.15));
  dual.observe(-10);
  CHECK(dual.value(2) == 0);
  CHECK(dual.value(10) == 1);
}

TEST_CASE("options out of range are refused") {
  CHECK_THROWS_WITH_AS((Penalty<>{.budget = {.min = -0.1, .max = 0.2}}.validate()), doctest::Contains("must not be below zero"), value_error);
  CHECK_THROWS_AS((Penalty<>{.price = {.min = 2, .max = 1}}.validate()), value_error);
  CHECK_THROWS_AS((Penalty<>{.max_ce = 0}.validate()), value_error);
  CHECK_THROWS_AS((Alternate{.student_passes = 0}.validate()), value_error);
}
