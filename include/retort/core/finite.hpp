#pragma once

#include <bit>
#include <cstdint>
#include <retort/core/view.hpp>

namespace retort {

/// Whether a number is neither infinite nor NaN. Looks at the bits: std::isfinite is folded to `true` by -ffast-math.
inline bool is_finite(float x) { return (std::bit_cast<std::uint32_t>(x) & 0x7f800000u) != 0x7f800000u; }
inline bool is_finite(double x) {
  constexpr std::uint64_t exponent = 0x7ff0000000000000u;
  return (std::bit_cast<std::uint64_t>(x) & exponent) != exponent;
}

/// Position of the first element that is infinite or NaN, or -1.
template <class T, int Rank>
index_t first_not_finite(View<T, Rank> values) {
  for (index_t i = 0; i < values.size(); ++i)
    if (!is_finite(values.data[i])) return i;
  return -1;
}

}  // namespace retort
