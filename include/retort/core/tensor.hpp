#pragma once

#include <retort/core/view.hpp>
#include <retort/fwd.hpp>
#include <utility>

namespace retort {

/// Owns 64-byte aligned, row-major memory of a backend; move-only (copies are spelled `clone()`), zero-initialised.
/// Rank and element type are compile-time, extents run-time.
template <class T, int Rank, class B>
class Tensor {
 public:
  using value_type = T;
  using backend = B;
  static constexpr int rank = Rank;

  Tensor() = default;
  explicit Tensor(Shape<Rank> shape) : shape_(shape) {
    if (shape.size() > 0) {
      data_ = static_cast<T*>(B::allocate(static_cast<std::size_t>(shape.size()) * sizeof(T)));
      B::fill_zero(data_, static_cast<std::size_t>(shape.size()) * sizeof(T));
    }
  }
  Tensor(Tensor&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), shape_(std::exchange(other.shape_, {})) {}
  Tensor& operator=(Tensor&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(shape_, other.shape_);
    return *this;
  }
  ~Tensor() { B::deallocate(data_); }

  Tensor clone() const {
    Tensor out(shape_);
    if (data_) B::copy(out.data_, data_, static_cast<std::size_t>(size()) * sizeof(T));
    return out;
  }

  View<T, Rank> view() { return {data_, shape_}; }
  View<const T, Rank> view() const { return {data_, shape_}; }
  operator View<T, Rank>() { return view(); }
  operator View<const T, Rank>() const { return view(); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  const Shape<Rank>& shape() const { return shape_; }
  index_t size() const { return data_ ? shape_.size() : 0; }
  index_t extent(int axis) const { return shape_[axis]; }
  bool empty() const { return size() == 0; }
  T* begin() { return data_; }
  T* end() { return data_ + size(); }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size(); }
  template <class... I>
  T& operator()(I... i) {
    return view()(i...);
  }
  template <class... I>
  const T& operator()(I... i) const {
    return view()(i...);
  }

 private:
  T* data_ = nullptr;
  Shape<Rank> shape_{};
};

}  // namespace retort
