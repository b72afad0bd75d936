#pragma once
// The few mathematical functions that functors use, for one value. Packs have overloads of the same names
// (backend/simd_math.hpp), found by their argument; so a functor written over a value type V says
// `using namespace math;` and runs as a float in a CUDA lane, a double in a gradient check or a vector on the CPU.

#include <cmath>
#include <concepts>
#include <cstdint>
#include <retort/config.hpp>
#include <type_traits>

namespace retort::math {

/// `yes` where the condition holds, else `no`: the branch-free conditional of a functor.
template <std::floating_point T>
RETORT_HD T select(bool condition, T yes, T no) {
  return condition ? yes : no;
}
template <std::floating_point T>
RETORT_HD T max(T a, T b) {
  return a > b ? a : b;
}
template <std::floating_point T>
RETORT_HD T min(T a, T b) {
  return a < b ? a : b;
}
/// a * b + c; rounded once where the target has the instruction.
template <std::floating_point T>
RETORT_HD T fma(T a, T b, T c) {
  return a * b + c;
}
template <std::floating_point T>
RETORT_HD T abs(T x) {
  return x < T(0) ? -x : x;
}
template <std::floating_point T>
RETORT_HD T sqrt(T x) {
  return std::sqrt(x);
}
template <std::floating_point T>
RETORT_HD T exp(T x) {
  return std::exp(x);
}
template <std::floating_point T>
RETORT_HD T exp2(T x) {
  return std::exp2(x);
}
/// Natural logarithm of a positive, normal number.
template <std::floating_point T>
RETORT_HD T log(T x) {
  return std::log(x);
}
template <std::floating_point T>
RETORT_HD T tanh(T x) {
  return std::tanh(x);
}
/// Distribution function of the standard normal, accurate relative to its value in the lower tail too.
template <std::floating_point T>
RETORT_HD T normal_cdf(T x) {
  return T(0.5) * std::erfc(x * T(-0.70710678118654752440));
}

}  // namespace retort::math
