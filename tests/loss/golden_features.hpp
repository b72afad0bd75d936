#pragma once
// The golden file's features and the check of a feature loss against it: value, gradient norm and central differences.

#include <algorithm>
#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>

#include "golden.hpp"
#include "../support.hpp"

namespace retort::test {

/// Digits of the golden file's gradient norms.
inline constexpr double golden_norm_tolerance = 1e-6;

// The golden file's maps are N x C x H x W = 4 x 3 x 4 x 4; here they are N x H x W x C.
template <class F>
Tensor<double, 4> map_of(F f) {
  Tensor<double, 4> out(Shape{4, 4, 4, 3});
  for (int n = 0; n < 4; ++n)
    for (int c = 0; c < 3; ++c)
      for (int h = 0; h < 4; ++h)
        for (int w = 0; w < 4; ++w) out(n, h, w, c) = f(n, c, h, w);
  return out;
}
inline Tensor<double, 4> Fs() { return map_of([](int n, int c, int h, int w) { return std::sin(0.5 * n + 0.8 * c + 0.3 * h + 0.2 * w + 0.1); }); }
inline Tensor<double, 4> Ft() { return map_of([](int n, int c, int h, int w) { return std::cos(0.3 * n + 0.6 * c - 0.25 * h + 0.4 * w + 0.2); }); }
inline Tensor<double, 4> Gs() { return map_of([](int n, int c, int h, int w) { return std::cos(0.2 * n + 0.7 * c + 0.15 * h - 0.35 * w); }); }
inline Tensor<double, 4> Gt() { return map_of([](int n, int c, int h, int w) { return std::sin(0.6 * n - 0.4 * c + 0.45 * h + 0.1 * w + 0.3); }); }
inline Tensor<double, 2> vector_of(bool student) {
  Tensor<double, 2> out(Shape{4, 6});
  for (int n = 0; n < 4; ++n)
    for (int d = 0; d < 6; ++d) out(n, d) = student ? std::sin(0.4 * n + 0.9 * d + 0.3) : std::cos(0.8 * n + 0.35 * d + 0.1);
  return out;
}

/// A tensor's numbers in T.
template <class T, int R>
Tensor<T, R> in(const Tensor<double, R>& x) {
  Tensor<T, R> out(x.shape());
  std::transform(x.begin(), x.end(), out.begin(), [](double v) { return static_cast<T>(v); });
  return out;
}
/// Value and gradient norm of a feature loss in T.
template <class T, class Loss, int R>
Golden value_and_norm(const Loss& loss, const Tensor<double, R>& student, const Tensor<double, R>& teacher) {
  const auto s = in<T>(student), t = in<T>(teacher);
  Cpu cpu;
  Tape<T, Cpu> tape(cpu);
  const auto leaf = tape.leaf(View<const T, R>(s.view()));
  const auto y = loss(tape, leaf, tape.constant(t.view()));
  tape.backward(y);
  double norm = 0;
  for (T g : tape.gradient(leaf)) norm += double(g) * double(g);
  return {double(y.value.data[0]), std::sqrt(norm)};
}

template <class Loss, int R>
void check_feature(const std::string& key, const Loss& loss, Tensor<double, R> s, Tensor<double, R> t) {
  CAPTURE(key);
  const auto golden = retort::test::read_golden();
  REQUIRE(golden.count(key) == 1);
  const Golden expected = golden.at(key);
  const auto agrees = [&](const Golden& g, double tolerance, double norm_tolerance) {
    CHECK(std::abs(g.value - expected.value) <= tolerance * std::max(1.0, std::abs(expected.value)));
    CHECK(std::abs(g.gradient_norm - expected.gradient_norm) <= norm_tolerance * std::max(1.0, expected.gradient_norm));
  };
  agrees(value_and_norm<double>(loss, s, t), value_tolerance<double>, golden_norm_tolerance);
  agrees(value_and_norm<float>(loss, s, t), value_tolerance<float>, gradient_tolerance<float>);
  Cpu cpu;
  const auto r = grad_check(cpu, [&](auto& tape2, auto p) { return loss(tape2, p, tape2.constant(t.view())); }, s);
  INFO("entry ", r.entry, " analytic ", r.analytic, " numeric ", r.numeric);
  CHECK(r.error < ::test::tolerance<double>::gradient);
}

}  // namespace retort::test
