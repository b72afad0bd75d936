// Vanilla distillation's soft term, the special case that DiSK must not lose.
#include <doctest/doctest.h>

#include "fixture.hpp"

using namespace retort;

namespace {
std::vector<double> gradient(test::Batch& b, double temperature, double* value = nullptr) {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto zs = tape.leaf(View<const double, 2>(b.student.view()));
  auto turn = b.turn(tape, zs, {});
  const auto loss = loss::evaluate(loss::SoftTargets{.temperature = temperature}, turn);
  if (value) *value = loss.value.data[0];
  tape.backward(loss);
  const auto g = tape.gradient(zs);
  return {g.begin(), g.end()};
}
double norm(const std::vector<double>& v) {
  double s = 0;
  for (double x : v) s += x * x;
  return std::sqrt(s);
}
}  // namespace

TEST_CASE("gradient T (p_s - p_t) / N, by the formula and by differences") {
  for (double temperature : {1., 2., 4., 8.}) {
    test::Batch b(4, 5);
    const auto g = gradient(b, temperature);
    for (index_t r = 0; r < 4; ++r) {
      const auto s = test::softmax(b.student.view().row(r), 5, temperature), t = test::softmax(b.teacher.view().row(r), 5, temperature);
      for (std::size_t c = 0; c < 5; ++c) CHECK(g[static_cast<std::size_t>(r) * 5 + c] == doctest::Approx(temperature * (s[c] - t[c]) / 4).epsilon(1e-10));
    }
    Cpu cpu;
    CHECK(grad_check(cpu, [&](auto& tape, auto zs) {
            auto turn = b.turn(tape, zs, {});
            return loss::evaluate(loss::SoftTargets{.temperature = temperature}, turn);
          }, b.student).error < test::tolerance<double>::gradient);
  }
}

TEST_CASE("T^2 keeps the gradient's size; at a high temperature it is (z_s - z_t) / (C N)") {
  test::Batch b(16, 10);
  for (double& z : b.student) z *= 0.5;  // where the limit begins to hold
  for (double& z : b.teacher) z *= 0.5;
  const double two = norm(gradient(b, 2)), four = norm(gradient(b, 4)), eight = norm(gradient(b, 8));
  CHECK(four / two > 0.8);
  CHECK(four / two < 1.25);
  CHECK(eight / four > 0.9);
  CHECK(eight / four < 1.12);

  for (auto* z : {&b.student, &b.teacher})
    for (index_t r = 0; r < 16; ++r) {
      double mean = 0;
      for (index_t c = 0; c < 10; ++c) mean += (*z)(r, c) / 10;
      for (index_t c = 0; c < 10; ++c) (*z)(r, c) -= mean;
    }
  const auto g = gradient(b, 1e4);
  for (index_t i = 0; i < b.student.size(); ++i)
    CHECK(g[static_cast<std::size_t>(i)] == doctest::Approx((b.student.data()[i] - b.teacher.data()[i]) / (10 * 16)).epsilon(1e-3));
}
