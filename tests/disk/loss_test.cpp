// DiSK's loss against its formulas: gradients, limits, the hint set.
#include <doctest/doctest.h>

#include <numeric>

#include "fixture.hpp"

using namespace retort;
using test::Batch;
constexpr double limit = test::tolerance<double>::gradient, exact = test::tolerance<double>::value;

namespace {
/// Value, gradient to the student and to the gate.
struct Evaluated {
  double value;
  std::vector<double> student, gate;
};
template <class Loss>
Evaluated results(const Loss& loss, const Batch& b, bool with_gate = true) {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto zs = tape.leaf(View<const double, 2>(b.student.view()));
  const auto g = with_gate ? tape.leaf(View<const double, 2>(b.gate.view())) : Var<double, 2>{};
  auto turn = b.turn(tape, zs, g);
  const auto value = loss::evaluate(loss, turn);
  tape.backward(value);
  const auto copy = [](auto view) { return std::vector<double>(view.begin(), view.end()); };
  return {value.value.data[0], copy(tape.gradient(zs)), with_gate ? copy(tape.gradient(g)) : std::vector<double>{}};
}
double difference(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}
loss::Scaffolded<loss::TopClasses> hint_only(index_t top, double weight = 0.9) {
  return {.help = {top}, .hint = {.weight = weight}, .hard = {.weight = 0}};
}

/// Section 3 of the method, row by row, with the hint set found by sorting. `in_h` receives |H| and the mass off H.
double by_definition(const Batch& b, index_t top, const loss::ScaffoldedHint& hint, std::vector<index_t>* sizes = nullptr) {
  const index_t rows = b.student.extent(0), classes = b.student.extent(1);
  double total = 0;
  for (index_t r = 0; r < rows; ++r) {
    const double *t = b.teacher.view().row(r), lowest = *std::min_element(t, t + classes);
    std::vector<index_t> order(static_cast<std::size_t>(classes));
    std::iota(order.begin(), order.end(), index_t{0});
    std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t c) { return t[a] > t[c]; });
    std::vector<bool> in(static_cast<std::size_t>(classes));
    for (index_t k = 0; k < top; ++k) in[static_cast<std::size_t>(order[static_cast<std::size_t>(k)])] = true;
    in[static_cast<std::size_t>(b.labels[static_cast<std::size_t>(r)])] = true;
    if (sizes) sizes->push_back(std::count(in.begin(), in.end(), true));
    std::vector<double> u(static_cast<std::size_t>(classes));
    for (index_t c = 0; c < classes; ++c) u[static_cast<std::size_t>(c)] = in[static_cast<std::size_t>(c)] ? t[c] / hint.teacher_temperature : lowest;
    const auto tt = test::softmax(u.data(), classes), p = test::softmax(b.student.view().row(r), classes, hint.temperature);
    for (std::size_t c = 0; c < tt.size(); ++c)
      if (in[c]) total -= hint.scale() * tt[c] * std::log(p[c] + b.gate(r, 0)) / static_cast<double>(rows);
  }
  return total;
}
}  // namespace

TEST_CASE("value by definition; gradients to the student and to the gate by differences") {
  for (index_t classes : {5, 8, 21})
    for (index_t top : {index_t{1}, index_t{3}, classes}) {
      CAPTURE(classes);
      CAPTURE(top);
      Batch b(6, classes, static_cast<std::uint64_t>(classes));
      const auto loss = hint_only(top);
      CHECK(results(loss, b).value == doctest::Approx(by_definition(b, top, loss.hint)).epsilon(1e-10));
      const loss::Scaffolded<loss::TopClasses> all{.help = {top}, .soft = {.temperature = 4, .weight = 0.3}};
      for (const auto& l : {loss, all}) {
        Cpu cpu;
        const auto r = grad_check(cpu, [&](auto& tape, auto zs, auto g) {
          auto turn = b.turn(tape, zs, g);
          return loss::evaluate(l, turn);
        }, b.student, b.gate);
        INFO("input ", r.input, " entry ", r.entry, " analytic ", r.analytic, " numeric ", r.numeric);
        CHECK(r.error < limit);
      }
    }
}

TEST_CASE("gradients by the formulas: T_t/N (p_j sum tt r - tt_j r_j), and -sum t m/(p+g) to the gate") {
  Batch b(3, 6);
  const loss::ScaffoldedPoster loss{.hint = {.temperature = 2, .teacher_temperature = 3, .weight = 0.7}, .hard = {.weight = 0}};
  const auto got = results(loss, b);
  for (index_t r = 0; r < 3; ++r) {
    const auto p = test::softmax(b.student.view().row(r), 6, 2), t = test::softmax(b.teacher.view().row(r), 6, 3);
    const double g = b.gate(r, 0);
    double pull = 0, slope = 0;
    for (std::size_t c = 0; c < 6; ++c) pull += t[c] * p[c] / (p[c] + g), slope -= t[c] / (p[c] + g);
    for (std::size_t j = 0; j < 6; ++j)
      CHECK(got.student[static_cast<std::size_t>(r) * 6 + j] == doctest::Approx(0.7 * 3 / 3 * (p[j] * pull - t[j] * p[j] / (p[j] + g))).epsilon(1e-10));
    CHECK(got.gate[static_cast<std::size_t>(r)] == doctest::Approx(0.7 * 2 * 3 / 3 * slope).epsilon(1e-10));
    CHECK(got.gate[static_cast<std::size_t>(r)] < 0);  // without budget and partition term help only lowers the loss
  }
}

TEST_CASE("no help and the full hint set: cross-entropy with soft targets, to 1e-12") {
  Batch b(5, 7);
  for (double& g : b.gate) g = 0;
  const double temperature = 3;
  const loss::ScaffoldedPoster all{.hint = {.temperature = temperature, .teacher_temperature = temperature, .weight = 1}, .hard = {.weight = 0}};
  const loss::Scaffolded<loss::TopClasses> full{.help = {7}, .hint = all.hint, .hard = {.weight = 0}};
  double cross = 0;
  for (index_t r = 0; r < 5; ++r) {
    const auto p = test::softmax(b.student.view().row(r), 7, temperature), t = test::softmax(b.teacher.view().row(r), 7, temperature);
    for (std::size_t c = 0; c < 7; ++c) cross -= temperature * temperature * t[c] * std::log(p[c]) / 5;
  }
  const auto got = results(all, b), absent = results(all, b, false), top = results(full, b);
  CHECK(std::abs(got.value - cross) < exact * cross);
  CHECK(got.value == absent.value);
  CHECK(got.value == top.value);
  // Same gradient as the KL form: they differ by the teacher's entropy only.
  const auto kl = results(loss::SoftTargets{.temperature = temperature}, b, false);
  CHECK(difference(got.student, kl.student) < 1e-12);
  CHECK(kl.value < got.value);
}

TEST_CASE("full help bounds the pull of a hopeless class by p/(p+1)") {
  Batch b(1, 4);
  b.gate(0, 0) = 1;
  const double zs[] = {6, 0, 0, -2}, zt[] = {-20, -20, -20, 20};
  std::copy(zs, zs + 4, b.student.begin());
  std::copy(zt, zt + 4, b.teacher.begin());
  const loss::ScaffoldedPoster loss{.hint = {.temperature = 1, .teacher_temperature = 1, .weight = 1}, .hard = {.weight = 0}};
  const double p = test::softmax(zs, 4)[3], bound = p / (p + 1);
  const double helped = -results(loss, b).student[3];
  b.gate(0, 0) = 0;
  const double plain = -results(loss, b).student[3];
  CHECK(helped > 0);
  CHECK(helped <= bound * (1 + 1e-9));
  CHECK(plain == doctest::Approx(1 - p));
}

TEST_CASE("a student whose probabilities underflow still feels the full pull without help, and none is infinite") {
  Batch b(1, 3);
  const double zs[] = {2000, 0, 0}, zt[] = {0, 40, 0};
  std::copy(zs, zs + 3, b.student.begin());
  std::copy(zt, zt + 3, b.teacher.begin());
  b.gate(0, 0) = 0;
  const loss::ScaffoldedPoster loss{.hint = {.temperature = 1, .teacher_temperature = 1, .weight = 1}, .hard = {.weight = 0}};
  const auto got = results(loss, b);
  CHECK(got.student[1] == doctest::Approx(-1));
  CHECK(std::isfinite(got.value));
  CHECK(std::isfinite(got.gate[0]));
}

TEST_CASE("the hint set holds the label, K or K+1 classes even among ties; mass off it is dropped") {
  Batch b(8, 6);
  for (index_t r = 0; r < 8; ++r)  // rows full of ties: the lower class comes first
    for (index_t c = 0; c < 6; ++c) b.teacher(r, c) = r < 4 ? 1.0 : static_cast<double>(c / 2);
  for (index_t top = 1; top <= 6; ++top) {
    std::vector<index_t> sizes;
    const auto loss = hint_only(top);
    const double expected = by_definition(b, top, loss.hint, &sizes);
    CHECK(results(loss, b).value == doctest::Approx(expected).epsilon(1e-10));
    for (index_t s : sizes) CHECK((s == top || (s == top + 1 && top < 6)));
  }
  // What the student thinks of classes off H matters only through its softmax: their targets are 0.
  Batch one(1, 5);
  one.labels[0] = 0;
  const double zt[] = {3, 2, -1, -2, -3};
  std::copy(zt, zt + 5, one.teacher.begin());
  one.gate(0, 0) = 0;
  const auto g = results(hint_only(2), one).student;
  const auto p = test::softmax(one.student.data(), 5, 3.5);
  CHECK(g[2] / p[2] == doctest::Approx(g[3] / p[3]));
  CHECK(g[2] > 0);
}

TEST_CASE("float and double agree; the sum is one pass that gives the sum") {
  Batch b(7, 10);
  const loss::ScaffoldedSoftTargets both{}, hard{.hint = {.weight = 0}};
  const auto sum = results(both, b), hint = results(hint_only(10), b), ce = results(hard, b);
  CHECK(sum.value == doctest::Approx(hint.value + ce.value).epsilon(1e-12));
  for (std::size_t i = 0; i < sum.student.size(); ++i) CHECK(sum.student[i] == doctest::Approx(hint.student[i] + ce.student[i]).epsilon(1e-9));

  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  const auto narrow = [&](const Tensor<double, 2>& x) {
    const View<float, 2> y = tape.allocate(x.shape());
    std::copy(x.begin(), x.end(), y.begin());
    return View<const float, 2>(y);
  };
  const auto zs = tape.leaf(narrow(b.student)), g = tape.leaf(narrow(b.gate));
  Exchange<float, Cpu, Var<float, 2>, Var<float, 2>, Var<float, 2>> turn{tape, zs, b.label_view(), {}, zs, tape.constant(narrow(b.teacher))};
  turn.extras = g;
  const auto value = loss::evaluate(both, turn);
  tape.backward(value);
  CHECK(value.value.data[0] == doctest::Approx(sum.value).epsilon(1e-5));
  for (index_t i = 0; i < 7; ++i) CHECK(tape.gradient(g).data[i] == doctest::Approx(sum.gate[static_cast<std::size_t>(i)]).epsilon(1e-4));
}

TEST_CASE("bad input is refused with numbers") {
  Batch b(3, 4);
  CHECK_THROWS_WITH_AS(results(loss::ScaffoldedSoftTargets{}, b), doctest::Contains("the top 10 of 4 classes"), value_error);
  CHECK_THROWS_AS(results(hint_only(0), b), value_error);
  b.gate = Tensor<double, 2>(Shape{2, 1});
  CHECK_THROWS_WITH_AS(results(hint_only(2), b), doctest::Contains("expected a gate of shape (3, 1), got (2, 1)"), shape_error);
}
