#pragma once
// Pooling and upsampling of NHWC images: one thread per output. Backward passes gather, so that no two threads add to the
// same place.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <retort/backend/ops.hpp>
#include <retort/cuda/launch.cuh>

namespace retort::cuda {
inline namespace RETORT_CUDA_ABI {

namespace pooling {

/// Sizes of a pooling: x is the large side, y the small one.
struct Geometry {
  int kernel, stride, padding;
  index_t h, w, c, oh, ow;
  Geometry(const PoolGeometry& g, const Shape<4>& x, const Shape<4>& y)
      : kernel(g.kernel), stride(g.stride), padding(g.padding), h(x[1]), w(x[2]), c(x[3]), oh(y[1]), ow(y[2]) {}
  struct Range {
    index_t first, last;
    __device__ index_t size() const { return last - first; }
  };
  /// Taps of window `at` inside an axis of `extent`.
  __device__ Range taps(index_t at, index_t extent) const {
    const index_t first = at * stride - padding, last = first + kernel;
    return {first < 0 ? 0 : first, last < extent ? last : extent};
  }
  /// Windows that contain tap `at`.
  __device__ Range windows(index_t at, index_t count) const {
    const index_t low = at + padding - kernel + 1, first = low <= 0 ? 0 : (low + stride - 1) / stride, last = (at + padding) / stride + 1;
    return {first, last < count ? last : count};
  }
};
/// A flat NHWC index taken apart.
struct Position {
  index_t n, y, x, c;
  __device__ Position(index_t i, index_t height, index_t width, index_t channels)
      : n(i / channels / width / height), y(i / channels / width % height), x(i / channels % width), c(i % channels) {}
};

template <class T>
struct MaxForward {
  Geometry g;
  const T* x;
  T* y;
  std::int32_t* index;
  __device__ void operator()(index_t i) const {
    const Position p(i, g.oh, g.ow, g.c);
    const auto rows = g.taps(p.y, g.h), columns = g.taps(p.x, g.w);
    const T* image = x + p.n * g.h * g.w * g.c + p.c;
    index_t best = rows.first * g.w + columns.first;
    for (index_t h = rows.first; h < rows.last; ++h)
      for (index_t w = columns.first; w < columns.last; ++w)
        if (image[(h * g.w + w) * g.c] > image[best * g.c]) best = h * g.w + w;
    y[i] = image[best * g.c];
    if (index) index[i] = static_cast<std::int32_t>(best);
  }
};
template <class T>
struct MaxReplay {
  Geometry g;
  const T* x;
  T* y;
  const std::int32_t* index;
  __device__ void operator()(index_t i) const {
    const Position p(i, g.oh, g.ow, g.c);
    y[i] = x[(p.n * g.h * g.w + index[i]) * g.c + p.c];
  }
};
/// Max where `index` is given, else average.
template <class T>
struct Backward {
  Geometry g;
  const T* dy;
  const std::int32_t* index;
  T* dx;
  bool add;
  __device__ void operator()(index_t i) const {
    const Position p(i, g.h, g.w, g.c);
    const auto rows = g.windows(p.y, g.oh), columns = g.windows(p.x, g.ow);
    T sum(0);
    for (index_t h = rows.first; h < rows.last; ++h)
      for (index_t w = columns.first; w < columns.last; ++w) {
        const index_t o = ((p.n * g.oh + h) * g.ow + w) * g.c + p.c;
        if (!index)
          sum += dy[o] / static_cast<T>(g.taps(h, g.h).size() * g.taps(w, g.w).size());
        else if (index[o] == p.y * g.w + p.x)
          sum += dy[o];
      }
    dx[i] = add ? dx[i] + sum : sum;
  }
};
template <class T>
struct AverageForward {
  Geometry g;
  const T* x;
  T* y;
  __device__ void operator()(index_t i) const {
    const Position p(i, g.oh, g.ow, g.c);
    const auto rows = g.taps(p.y, g.h), columns = g.taps(p.x, g.w);
    T sum(0);
    for (index_t h = rows.first; h < rows.last; ++h)
      for (index_t w = columns.first; w < columns.last; ++w) sum += x[((p.n * g.h + h) * g.w + w) * g.c + p.c];
    y[i] = sum / static_cast<T>(rows.size() * columns.size());
  }
};
template <class T>
struct GlobalForward {
  index_t pixels, channels;
  const T* x;
  T* y;
  __device__ void operator()(index_t i) const {
    const T* from = x + i / channels * pixels * channels + i % channels;
    T sum(0);
    for (index_t p = 0; p < pixels; ++p) sum += from[p * channels];
    y[i] = sum / static_cast<T>(pixels);
  }
};
template <class T>
struct GlobalBackward {
  index_t pixels, channels;
  const T* dy;
  T* dx;
  bool add;
  __device__ void operator()(index_t i) const {
    const T d = dy[i / channels / pixels * channels + i % channels] / static_cast<T>(pixels);
    dx[i] = add ? dx[i] + d : d;
  }
};
template <class T>
struct UpsampleForward {
  index_t factor, h, w, c;  ///< of the small side
  const T* x;
  T* y;
  __device__ void operator()(index_t i) const {
    const Position p(i, h * factor, w * factor, c);
    y[i] = x[((p.n * h + p.y / factor) * w + p.x / factor) * c + p.c];
  }
};
template <class T>
struct UpsampleBackward {
  index_t factor, h, w, c;
  const T* dy;
  T* dx;
  bool add;
  __device__ void operator()(index_t i) const {
    const Position p(i, h, w, c);
    T sum(0);
    for (index_t a = 0; a < factor; ++a)
      for (index_t b = 0; b < factor; ++b) sum += dy[((p.n * h * factor + p.y * factor + a) * w * factor + p.x * factor + b) * c + p.c];
    dx[i] = add ? dx[i] + sum : sum;
  }
};

}  // namespace pooling

struct Pooling {
  template <class T>
  using In4 = std::type_identity_t<View<const T, 4>>;

  template <class T>
  static void max_pool_forward(Cuda& cuda, const PoolGeometry& g, In4<T> x, View<T, 4> y, std::int32_t* index) {
    map(cuda, "max_pool_forward", y.size(), pooling::MaxForward<T>{{g, x.shape, y.shape}, x.data, y.data, index});
  }
  template <class T>
  static void max_pool_forward_replay(Cuda& cuda, const PoolGeometry& g, In4<T> x, View<T, 4> y, const std::int32_t* index) {
    map(cuda, "max_pool_forward_replay", y.size(), pooling::MaxReplay<T>{{g, x.shape, y.shape}, x.data, y.data, index});
  }
  template <class T>
  static void max_pool_backward(Cuda& cuda, const PoolGeometry& g, In4<T> dy, const std::int32_t* index, View<T, 4> dx, Write write) {
    map(cuda, "max_pool_backward", dx.size(), pooling::Backward<T>{{g, dx.shape, dy.shape}, dy.data, index, dx.data, write == Write::add});
  }
  template <class T>
  static void average_pool_forward(Cuda& cuda, const PoolGeometry& g, In4<T> x, View<T, 4> y) {
    map(cuda, "average_pool_forward", y.size(), pooling::AverageForward<T>{{g, x.shape, y.shape}, x.data, y.data});
  }
  template <class T>
  static void average_pool_backward(Cuda& cuda, const PoolGeometry& g, In4<T> dy, View<T, 4> dx, Write write) {
    map(cuda, "average_pool_backward", dx.size(), pooling::Backward<T>{{g, dx.shape, dy.shape}, dy.data, nullptr, dx.data, write == Write::add});
  }
  template <class T>
  static void global_average_pool_forward(Cuda& cuda, In4<T> x, View<T, 2> y) {
    map(cuda, "global_average_pool_forward", y.size(), pooling::GlobalForward<T>{x.shape[1] * x.shape[2], x.shape[3], x.data, y.data});
  }
  template <class T>
  static void global_average_pool_backward(Cuda& cuda, std::type_identity_t<View<const T, 2>> dy, View<T, 4> dx, Write write) {
    map(cuda, "global_average_pool_backward", dx.size(),
        pooling::GlobalBackward<T>{dx.shape[1] * dx.shape[2], dx.shape[3], dy.data, dx.data, write == Write::add});
  }
  template <class T>
  static void upsample_nearest_forward(Cuda& cuda, int factor, In4<T> x, View<T, 4> y) {
    map(cuda, "upsample_nearest_forward", y.size(), pooling::UpsampleForward<T>{factor, x.shape[1], x.shape[2], x.shape[3], x.data, y.data});
  }
  template <class T>
  static void upsample_nearest_backward(Cuda& cuda, int factor, In4<T> dy, View<T, 4> dx, Write write) {
    map(cuda, "upsample_nearest_backward", dx.size(),
        pooling::UpsampleBackward<T>{factor, dx.shape[1], dx.shape[2], dx.shape[3], dy.data, dx.data, write == Write::add});
  }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace retort::cuda
