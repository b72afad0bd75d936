#pragma once
// What the CPU kernel headers share: argument types that do not take part in deduction, and sums.

#include <algorithm>
#include <retort/backend/cpu.hpp>
#include <retort/backend/ops.hpp>
#include <retort/backend/simd.hpp>
#include <type_traits>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// A read-only argument. T is deduced from the output alone, so that `View<T, R>` and `Tensor` convert.
template <class T, int Rank>
using In = std::type_identity_t<View<const T, Rank>>;
/// A pointer argument that may be written as `nullptr` without upsetting deduction.
template <class T>
using Pointer = std::type_identity_t<T*>;

using detail::check_shape;

/// to[i] += from[i].
template <class T>
void add_to(T* to, const T* from, index_t n) {
  using P = simd::Native<T>;
  index_t i = 0;
  for (; i + P::lanes <= n; i += P::lanes) (P::load(to + i) + P::load(from + i)).store(to + i);
  for (; i < n; ++i) to[i] += from[i];
}

}  // namespace RETORT_ISA
}  // namespace retort::cpu
