// Losses with per-row extras: the row part of DiSK's loss, alone and in a sum.

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include <retort/loss/scaffolded_soft_targets.hpp>

#include "row_loss_fixture.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

namespace {

Problem<double> scaffolded(index_t rows, index_t classes, int top) {
  Problem<double> p(rows, classes, 31);
  p.set_extras(4);
  Rng rng(8);
  for (index_t r = 0; r < rows; ++r) {
    std::vector<double> t(p.teacher.begin() + r * classes, p.teacher.begin() + (r + 1) * classes);
    std::sort(t.begin(), t.end(), std::greater<>());
    double* e = p.extras.data() + 4 * r;
    e[0] = 0.05 + 0.9 * rng.uniform();
    e[1] = t[static_cast<std::size_t>(top - 1)];
    const double* row = p.teacher.data() + r * classes;
    e[2] = static_cast<double>(std::find(row, row + classes, e[1]) - row);
    e[3] = t.back();
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
      const double *s = p.student.data() + r * classes, *t = p.teacher.data() + r * classes, *e = p.extras.data() + 4 * r;
      double zs = 0, zu = 0, hint = 0;
      const auto in_h = [&](index_t c) { return t[c] >= e[1] || c == p.labels[static_cast<std::size_t>(r)]; };
      const auto u = [&](index_t c) { return in_h(c) ? t[c] / 4 : e[3]; };
      for (index_t c = 0; c < classes; ++c) zs += std::exp(s[c] / 3.5), zu += std::exp(u(c));
      for (index_t c = 0; c < classes; ++c)
        if (in_h(c)) hint -= std::exp(u(c)) / zu * std::log(std::exp(s[c] / 3.5) / zs + e[0]);
      expected += p.weight[static_cast<std::size_t>(r)] * 0.9 * 3.5 * 4 * hint / 4;
    }
    RowGradients<double> g;
    g.student = {p.d_student.data(), {4, classes}};
    g.extras = {p.d_extras.data(), {4, 4}};
    Cpu cpu;
    CHECK(cpu::RowLossKernels::row_loss(cpu, loss, p.batch(), g) == doctest::Approx(expected).epsilon(value_tolerance<double>));
    const auto f = [&] { return p.value(loss); };
    CHECK(difference_error(p.student, p.d_student, f) < difference_tolerance);
    std::vector<double> gates(4), by_gate(4);
    for (std::size_t r = 0; r < 4; ++r) gates[r] = p.extras[4 * r], by_gate[r] = p.d_extras[4 * r];
    CHECK(difference_error(gates, by_gate, [&] {
            for (std::size_t r = 0; r < 4; ++r) p.extras[4 * r] = gates[r];
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
    f.set_extras(4);
    f.labels = d.labels;
    f.student.assign(d.student.begin(), d.student.end());
    f.teacher.assign(d.teacher.begin(), d.teacher.end());
    f.extras.assign(d.extras.begin(), d.extras.end());
    for (index_t r = 0; r < 5; ++r)
      for (int k : {1, 3}) f.extras[static_cast<std::size_t>(4 * r + k)] = static_cast<float>(d.extras[static_cast<std::size_t>(4 * r + k)]);
    CHECK(f.evaluate(loss) == doctest::Approx(d.evaluate(loss)).epsilon(value_tolerance<float>));
    CHECK(max_difference(f.d_student, d.d_student) < gradient_tolerance<float> * max_abs(d.d_student));
  }
}

TEST_CASE("a loss with extras in a batch without them is a shape error that says how many") {
  Problem<float> p(4, 10);
  CHECK_THROWS_WITH_AS(p.value(ScaffoldedHint{}), doctest::Contains("extras of 4 rows and 4 columns"), shape_error);
}
