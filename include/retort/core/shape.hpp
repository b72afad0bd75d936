#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace retort {

/// Extents and sizes are 64-bit: batch x tokens x vocabulary passes 2^31.
using index_t = std::int64_t;

/// Extents of a row-major array of compile-time rank, slowest dimension first.
template <int Rank>
struct Shape {
  static_assert(Rank >= 1, "retort::Shape: the rank is at least 1; a scalar is a Shape<1> of extent 1");
  std::array<index_t, Rank> extent{};

  constexpr index_t operator[](int axis) const { return extent[static_cast<std::size_t>(axis)]; }
  constexpr index_t& operator[](int axis) { return extent[static_cast<std::size_t>(axis)]; }

  /// Number of elements.
  constexpr index_t size() const {
    index_t n = 1;
    for (index_t e : extent) n *= e;
    return n;
  }
  /// Elements of one entry of the first axis (one sample).
  constexpr index_t row_size() const {
    index_t n = 1;
    for (int a = 1; a < Rank; ++a) n *= (*this)[a];
    return n;
  }
  friend constexpr bool operator==(const Shape&, const Shape&) = default;
};

template <class... Extents>
Shape(Extents...) -> Shape<static_cast<int>(sizeof...(Extents))>;

/// "(128, 10)", for messages.
template <int Rank>
std::string to_string(const Shape<Rank>& shape) {
  std::string out = "(";
  for (int a = 0; a < Rank; ++a) out += (a ? ", " : "") + std::to_string(shape[a]);
  return out + ")";
}

}  // namespace retort
