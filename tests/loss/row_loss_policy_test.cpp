// Losses with per-row extras: DiSK's scaffolded loss, written as a user would, proves the interface for gates.

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "row_loss_fixture.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

namespace {

/// The hint of DiSK (Kag et al., ICLR 2023): -sum over H of tt_c * log(p_c + g), H the teacher's top K and the label,
/// p = softmax(s / T_s), tt = softmax of u restricted to H, u = t / T_t on H and the row's smallest t off H; times
/// T_s * T_t. Extras of a row: the gate g, the K-th largest teacher logit, the smallest one.
struct ScaffoldedHint {
  double temperature = 3.5, teacher_temperature = 4, weight = 1;

  static constexpr RowNeeds needs{.teacher = true, .labels = true, .student_softmax = true, .teacher_softmax = true, .extras = 3};
  static constexpr const char* name = "ScaffoldedHint";

  /// Over H, with w the teacher's softmax over all classes: sum w log(p + g), sum w, |H|, sum w p/(p+g), sum w/(p+g).
  template <class V>
  struct Acc {
    V hint, mass, kept, pull, slope;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0), V(0), V(0), V(0), V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    using namespace math;
    const V w = kept_weight(c), helped = c.student.p + V(c.extra[0]);
    return {a.hint + w * log(helped), a.mass + w, a.kept + select(in_h(c), V(1), V(0)), a.pull + w * c.student.p / helped,
            a.slope + w / helped};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.hint + b.hint, a.mass + b.mass, a.kept + b.kept, a.pull + b.pull, a.slope + b.slope};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>& row) const {
    return -factor(a, row) * a.hint;
  }
  template <class V, class T>
  RETORT_HD V grad(Acc<T> a, const BasicCell<V>& c) const {
    const V p = c.student.p;
    return V(factor(a, c.row) / c.row.temperature) * (p * V(a.pull) - kept_weight(c) * p / (p + V(c.extra[0])));
  }
  template <class T>
  RETORT_HD T extra_grad(int k, Acc<T> a, const Row<T>& row) const {
    return k == 0 ? -factor(a, row) * a.slope : T(0);
  }

 private:
  template <class V>
  RETORT_HD auto in_h(const BasicCell<V>& c) const {
    return (c.t >= V(c.extra[1])) | c.is_label;
  }
  template <class V>
  RETORT_HD V kept_weight(const BasicCell<V>& c) const {
    using namespace math;
    return select(in_h(c), c.teacher.p, V(0));
  }
  /// weight * T_s * T_t over the normaliser of tt, whose off-H part is counted, not swept.
  template <class T>
  RETORT_HD T factor(Acc<T> a, const Row<T>& row) const {
    using namespace math;
    const T off = (T(row.classes) - a.kept) * exp(row.extra[2] - row.teacher.log_sum);
    return T(weight) * row.temperature * T(teacher_temperature) / (a.mass + off);
  }
};
static_assert(RowLoss<ScaffoldedHint>);

Problem<double> scaffolded(index_t rows, index_t classes, int top) {
  Problem<double> p(rows, classes, 31);
  p.set_extras(3);
  Rng rng(8);
  for (index_t r = 0; r < rows; ++r) {
    std::vector<double> t(p.teacher.begin() + r * classes, p.teacher.begin() + (r + 1) * classes);
    std::sort(t.begin(), t.end(), std::greater<>());
    double* e = p.extras.data() + 3 * r;
    e[0] = 0.05 + 0.9 * rng.uniform();
    e[1] = t[static_cast<std::size_t>(top - 1)];
    e[2] = t.back();
  }
  return p;
}

}  // namespace

TEST_CASE("DiSK's scaffolded hint as a row loss: value, gradient to the student, gradient to the gate") {
  const ScaffoldedHint loss{.weight = 0.9};
  for (index_t classes : {5, 8, 29}) {
    CAPTURE(classes);
    Problem<double> p = scaffolded(4, classes, 3);
    p.weight = {1, 2, 0.5, 1};

    double expected = 0;  // straight from the definition
    for (index_t r = 0; r < 4; ++r) {
      const double *s = p.student.data() + r * classes, *t = p.teacher.data() + r * classes, *e = p.extras.data() + 3 * r;
      double zs = 0, zu = 0, hint = 0;
      const auto in_h = [&](index_t c) { return t[c] >= e[1] || c == p.labels[static_cast<std::size_t>(r)]; };
      const auto u = [&](index_t c) { return in_h(c) ? t[c] / 4 : e[2]; };
      for (index_t c = 0; c < classes; ++c) zs += std::exp(s[c] / 3.5), zu += std::exp(u(c));
      for (index_t c = 0; c < classes; ++c)
        if (in_h(c)) hint -= std::exp(u(c)) / zu * std::log(std::exp(s[c] / 3.5) / zs + e[0]);
      expected += p.weight[static_cast<std::size_t>(r)] * 0.9 * 3.5 * 4 * hint / 4;
    }
    RowGradients<double> g;
    g.student = {p.d_student.data(), {4, classes}};
    g.extras = {p.d_extras.data(), {4, 3}};
    Cpu cpu;
    CHECK(cpu::RowLossKernels::row_loss(cpu, loss, p.batch(), g) == doctest::Approx(expected).epsilon(value_tolerance<double>));
    const auto f = [&] { return p.value(loss); };
    CHECK(difference_error(p.student, p.d_student, f) < difference_tolerance);
    std::vector<double> gates(4), by_gate(4);
    for (std::size_t r = 0; r < 4; ++r) gates[r] = p.extras[3 * r], by_gate[r] = p.d_extras[3 * r];
    CHECK(difference_error(gates, by_gate, [&] {
            for (std::size_t r = 0; r < 4; ++r) p.extras[3 * r] = gates[r];
            return p.value(loss);
          }) < difference_tolerance);
    for (double d : by_gate) CHECK(d < 0);  // help lowers the hint
  }
}

TEST_CASE("the scaffolded hint in a sum, in float, at the width of a vector and around it") {
  const Sum loss{ScaffoldedHint{}, CrossEntropy<BatchMean>{.weight = 0.1}};
  for (index_t classes : {10, 15, 16, 17, 100}) {
    Problem<double> d = scaffolded(5, classes, 4);
    Problem<float> f(5, classes);
    f.set_extras(3);
    f.labels = d.labels;
    f.student.assign(d.student.begin(), d.student.end());
    f.teacher.assign(d.teacher.begin(), d.teacher.end());
    f.extras.assign(d.extras.begin(), d.extras.end());
    for (index_t r = 0; r < 5; ++r)
      for (int k : {1, 2}) f.extras[static_cast<std::size_t>(3 * r + k)] = static_cast<float>(d.extras[static_cast<std::size_t>(3 * r + k)]);
    CHECK(f.evaluate(loss) == doctest::Approx(d.evaluate(loss)).epsilon(value_tolerance<float>));
    CHECK(max_difference(f.d_student, d.d_student) < gradient_tolerance<float> * max_abs(d.d_student));
  }
}

TEST_CASE("a loss with extras in a batch without them is a shape error that says how many") {
  Problem<float> p(4, 10);
  CHECK_THROWS_WITH_AS(p.value(ScaffoldedHint{}), doctest::Contains("extras of 4 rows and 3 columns"), shape_error);
}
