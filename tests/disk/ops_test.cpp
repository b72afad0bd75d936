// The operations that came with DiSK, against differences.
#include <doctest/doctest.h>

#include "fixture.hpp"

using namespace retort;
constexpr double limit = test::tolerance<double>::gradient;

TEST_CASE("one column of each row, a bound from above, log(1 + x)") {
  Cpu cpu;
  auto x = test::randn(Shape{5, 4}, 3), w = test::randn(Shape{5, 1}, 4);
  const std::int32_t index[] = {3, 0, 0, 2, 1};
  const View<const std::int32_t, 1> columns{index, {5}};
  CHECK(grad_check(cpu, [&](auto& t, auto p, auto q) { return sum(t, multiply(t, pick_columns(t, p, columns), q)); }, x, w).error < limit);
  CHECK(grad_check(cpu, [&](auto& t, auto p, auto q) { return add(t, sum(t, multiply(t, pick_columns(t, p, columns), q)), mean(t, p)); }, x, w).error < limit);
  CHECK(grad_check(cpu, [&](auto& t, auto p) { return mean(t, multiply(t, clip_above(t, p, 0.3), p)); }, x).error < limit);
  CHECK(grad_check(cpu, [&](auto& t, auto p) { return mean(t, multiply(t, add_constant(t, p, 0.3), p)); }, x).error < limit);
  for (double& v : x) v = std::abs(v);
  CHECK(grad_check(cpu, [&](auto& t, auto p) { return mean(t, multiply(t, activate(t, functor::LogOnePlus{}, p), p)); }, x).error < limit);

  Tape<double, Cpu> tape(cpu);
  const auto p = tape.constant(View<const double, 2>(x.view()));
  for (index_t r = 0; r < 5; ++r) CHECK(pick_columns(tape, p, columns).value(r, 0) == x(r, index[r]));
  for (index_t i = 0; i < x.size(); ++i) CHECK(clip_above(tape, p, 0.5).value.data[i] == doctest::Approx(std::min(0.5, x.data()[i])));
  const std::int32_t outside[] = {0, 4, 0, 0, 0};
  CHECK_THROWS_AS(pick_columns(tape, p, View<const std::int32_t, 1>{outside, {5}}), value_error);
  CHECK_THROWS_AS(pick_columns(tape, p, View<const std::int32_t, 1>{index, {3}}), shape_error);
}
