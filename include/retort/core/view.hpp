#pragma once

#include <retort/core/error.hpp>
#include <retort/core/shape.hpp>
#include <type_traits>

namespace retort {

/// Non-owning, trivially copyable window on dense row-major memory: a pointer and a shape. Kernels and policies see
/// only views; they never own, resize or free. `View<const T, R>` is read-only; `View<T, R>` converts to it.
template <class T, int Rank>
struct View {
  using value_type = std::remove_const_t<T>;
  static constexpr int rank = Rank;

  T* data = nullptr;
  Shape<Rank> shape{};

  constexpr View() = default;
  constexpr View(T* data_, Shape<Rank> shape_) : data(data_), shape(shape_) {}
  template <class U>
    requires(std::is_const_v<T> && std::is_same_v<U, value_type>)
  constexpr View(View<U, Rank> other) : data(other.data), shape(other.shape) {}

  constexpr index_t size() const { return shape.size(); }
  constexpr index_t extent(int axis) const { return shape[axis]; }
  constexpr bool empty() const { return data == nullptr || size() == 0; }
  constexpr T* begin() const { return data; }
  constexpr T* end() const { return data + size(); }

  /// Element access by full index; unchecked.
  template <class... I>
    requires(sizeof...(I) == Rank)
  constexpr T& operator()(I... index) const {
    const index_t at[] = {static_cast<index_t>(index)...};
    index_t offset = 0;
    for (int a = 0; a < Rank; ++a) offset = offset * shape[a] + at[a];
    return data[offset];
  }
  /// Pointer to sample `i` of the first axis.
  constexpr T* row(index_t i) const { return data + i * shape.row_size(); }
  /// Samples [first, last) of the first axis.
  constexpr View rows(index_t first, index_t last) const {
    View out{data + first * shape.row_size(), shape};
    out.shape[0] = last - first;
    return out;
  }
  /// The same elements under another shape. Throws shape_error when the sizes differ.
  template <int NewRank>
  constexpr View<T, NewRank> reshape(Shape<NewRank> to) const {
    require<shape_error>(to.size() == size(), "View::reshape: ", to_string(shape), " holds ", size(),
                         " elements, the new shape ", to_string(to), " holds ", to.size());
    return {data, to};
  }
  /// As a matrix: first axis x the rest.
  constexpr View<T, 2> matrix() const { return {data, {shape[0], shape.row_size()}}; }
  constexpr View<T, 1> flat() const { return {data, {size()}}; }
};

template <class T, int Rank>
View<const T, Rank> as_const(View<T, Rank> v) {
  return v;
}

}  // namespace retort
