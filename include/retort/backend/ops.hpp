#pragma once
// The vocabulary that a backend implements: `Kernels<B>` is a struct of static functions, specialised per backend
// (`backend/cpu_kernels.hpp`, later `cuda/kernels.cuh`). Autograd ops are written once against it.
//
// Conventions: row-major dense views; images are N x H x W x C; linear weights are in x out; convolution weights are
// KH x KW x (C_in / groups) x C_out. `Write` says whether a result replaces or adds to what is there: gradients add,
// except that the first contribution of a step replaces, which saves a pass that clears.

#include <retort/core/view.hpp>
#include <retort/fwd.hpp>

namespace retort {

enum class Write { replace, add };
enum class Transpose { no, yes };

/// What a matrix product or convolution applies to its result before storing it.
enum class Epilogue { none, relu };

namespace detail {
/// Throws shape_error naming both shapes when they differ.
template <int Rank>
inline void check_shape(const char* what, const Shape<Rank>& actual, const Shape<Rank>& expected) {
  require<shape_error>(actual == expected, what, ": expected shape ", expected, ", got ", actual);
}
}  // namespace detail

/// Geometry of a 2-D convolution over NHWC images. Output extent: (H + 2*padding - kernel) / stride + 1.
struct Conv2dGeometry {
  int kernel_h = 3, kernel_w = 3;
  int stride = 1;
  int padding = 1;
  int groups = 1;  ///< C_in = C_out = groups is a depthwise convolution.
  friend constexpr bool operator==(const Conv2dGeometry&, const Conv2dGeometry&) = default;

  constexpr Shape<4> output(Shape<4> x, index_t channels_out) const {
    return {x[0], (x[1] + 2 * padding - kernel_h) / stride + 1, (x[2] + 2 * padding - kernel_w) / stride + 1,
            channels_out};
  }
  /// Throws value_error when the geometry is impossible, shape_error when images x, weights w and images y do not fit it.
  void check(const char* what, const Shape<4>& x, const Shape<4>& w, const Shape<4>& y) const {
    require<value_error>(kernel_h >= 1 && kernel_w >= 1 && stride >= 1 && padding >= 0 && groups >= 1, what,
                         ": kernel, stride and groups must be at least 1 and padding not negative");
    require<shape_error>(x[3] % groups == 0 && w[3] % groups == 0, what, ": ", groups, " groups do not divide the channels of x ", x,
                         " and w ", w);
    detail::check_shape(what, w, {kernel_h, kernel_w, x[3] / groups, w[3]});
    require<shape_error>(x[1] + 2 * padding >= kernel_h && x[2] + 2 * padding >= kernel_w, what,
                         ": the kernel is larger than the padded image ", x);
    detail::check_shape(what, y, output(x, w[3]));
  }
};

/// Window of a pooling op over NHWC images. Padding taps do not count: max ignores them, average divides by the taps
/// inside the image.
struct PoolGeometry {
  int kernel = 2, stride = 2, padding = 0;
  constexpr Shape<4> output(Shape<4> x) const {
    return {x[0], (x[1] + 2 * padding - kernel) / stride + 1, (x[2] + 2 * padding - kernel) / stride + 1, x[3]};
  }
};

/// A parameter, or a piece of one, that an optimiser's step changes: an entry of the table that a backend's `update` takes.
/// Pointers into the backend's memory; `first` and `second` are the moments, null where the rule keeps none.
template <class T>
struct ParameterUpdate {
  const T* grad = nullptr;
  T *weight = nullptr, *first = nullptr, *second = nullptr;
  index_t size = 0;
  bool decays = true;  ///< takes part in weight decay
  friend constexpr bool operator==(const ParameterUpdate&, const ParameterUpdate&) = default;
};

/// Primary template: a backend specialises it.
template <class B>
struct Kernels;

}  // namespace retort
