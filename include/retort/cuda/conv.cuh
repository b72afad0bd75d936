#pragma once
// 2-D convolution of NHWC images as an implicit matrix product: the patches of an image are never written out, a tile of
// them is gathered into shared memory. One kernel, three pairs of gathering functors: forward, by the input, by the weights.
//
// On CUDA cores in float; tensor cores are not used yet. Compiled, and run under the CPU emulation of tests/cuda; not yet
// run on a device.

#include <retort/backend/ops.hpp>
#include <algorithm>
#include <retort/cuda/launch.cuh>

namespace retort::cuda {
inline namespace RETORT_CUDA_ABI {

namespace conv {

/// Sizes of a convolution. `ci` and `co` are channels of one group.
struct Geometry {
  int kernel_h, kernel_w, stride, padding, groups;
  index_t h, w, oh, ow, ci, co;
  Geometry(const Conv2dGeometry& g, const Shape<4>& x, const Shape<4>& weight, const Shape<4>& y)
      : kernel_h(g.kernel_h), kernel_w(g.kernel_w), stride(g.stride), padding(g.padding), groups(g.groups), h(x[1]), w(x[2]), oh(y[1]),
        ow(y[2]), ci(weight[2]), co(weight[3] / g.groups) {}
};

/// What a tap of an output pixel reads: the flat pixel of x, or -1 in the padding.
__device__ inline index_t input_pixel(const Geometry& g, index_t out_pixel, index_t tap) {
  const index_t n = out_pixel / (g.oh * g.ow), oy = out_pixel / g.ow % g.oh, ox = out_pixel % g.ow;
  const index_t y = oy * g.stride - g.padding + tap / g.kernel_w, x = ox * g.stride - g.padding + tap % g.kernel_w;
  return y >= 0 && y < g.h && x >= 0 && x < g.w ? (n * g.h + y) * g.w + x : -1;
}

/// Rows: output pixels; columns: output channels; depth: taps x input channels.
template <class T>
struct Forward {
  Geometry g;
  const T *x, *weight, *bias;
  T* y;
  bool relu;
  __device__ T a(index_t pixel, index_t k, int group) const {
    const index_t from = input_pixel(g, pixel, k / g.ci);
    return from < 0 ? T(0) : x[(from * g.groups + group) * g.ci + k % g.ci];
  }
  __device__ T b(index_t k, index_t column, int group) const { return weight[(k * g.groups + group) * g.co + column]; }
  __device__ void store(index_t pixel, index_t column, int group, int, T value) const {
    const index_t channel = group * g.co + column;
    if (bias) value += bias[channel];
    y[pixel * g.groups * g.co + channel] = relu && !(value > T(0)) ? T(0) : value;
  }
};
/// Rows: input pixels; columns: input channels; depth: taps x output channels.
template <class T>
struct BackwardData {
  Geometry g;
  const T *dy, *weight;
  T* dx;
  bool add;
  __device__ T a(index_t pixel, index_t k, int group) const {
    const index_t tap = k / g.co, n = pixel / (g.h * g.w), y = pixel / g.w % g.h, x = pixel % g.w;
    const index_t sy = y + g.padding - tap / g.kernel_w, sx = x + g.padding - tap % g.kernel_w;
    if (sy < 0 || sx < 0 || sy % g.stride != 0 || sx % g.stride != 0) return T(0);
    const index_t oy = sy / g.stride, ox = sx / g.stride;
    if (oy >= g.oh || ox >= g.ow) return T(0);
    return dy[(((n * g.oh + oy) * g.ow + ox) * g.groups + group) * g.co + k % g.co];
  }
  __device__ T b(index_t k, index_t column, int group) const {
    return weight[((k / g.co * g.ci + column) * g.groups + group) * g.co + k % g.co];
  }
  __device__ void store(index_t pixel, index_t column, int group, int, T value) const {
    T& to = dx[(pixel * g.groups + group) * g.ci + column];
    to = add ? to + value : value;
  }
};
/// Rows: taps x input channels; columns: output channels; depth: output pixels, in parts that are added up afterwards.
template <class T>
struct BackwardWeights {
  Geometry g;
  const T *x, *dy;
  T* partial;
  __device__ T a(index_t row, index_t pixel, int group) const {
    const index_t from = input_pixel(g, pixel, row / g.ci);
    return from < 0 ? T(0) : x[(from * g.groups + group) * g.ci + row % g.ci];
  }
  __device__ T b(index_t pixel, index_t column, int group) const { return dy[(pixel * g.groups + group) * g.co + column]; }
  __device__ void store(index_t row, index_t column, int group, int part, T value) const {
    const index_t size = index_t{g.kernel_h} * g.kernel_w * g.ci * g.groups * g.co;
    partial[part * size + (row * g.groups + group) * g.co + column] = value;
  }
};
template <class T>
struct AddParts {
  const T* partial;
  index_t size;
  int parts;
  T* out;
  bool add;
  __device__ void operator()(index_t i) const {
    T sum(0);
    for (int p = 0; p < parts; ++p) sum += partial[p * size + i];
    out[i] = add ? out[i] + sum : sum;
  }
};

inline constexpr int tile = 64, depth = 16, threads = 256, each = 4;  ///< each thread computes each x each results

/// store(row, column, group, part, sum over the part's depth of a(row, k) b(k, column)). Grid: row tiles x column tiles x
/// (groups * parts).
template <class T, class Job>
__global__ static void __launch_bounds__(threads) product_kernel(Job job, index_t rows, index_t columns, index_t total, int parts) {
  __shared__ T left[depth][tile + 4];  // padded: a column of it is written at once
  __shared__ T right[depth][tile];
  const int group = static_cast<int>(blockIdx.z) / parts, part = static_cast<int>(blockIdx.z) % parts;
  const index_t row0 = index_t{blockIdx.x} * tile, column0 = index_t{blockIdx.y} * tile;
  const index_t first = total * part / parts, last = total * (part + 1) / parts;
  const int thread = static_cast<int>(threadIdx.x), tr = thread / (tile / each) * each, tc = thread % (tile / each) * each;
  T sum[each][each] = {};
  for (index_t k0 = first; k0 < last; k0 += depth) {
    for (int i = thread; i < depth * tile; i += threads) {
      const index_t row = row0 + i / depth, k = k0 + i % depth;  // neighbours read neighbouring channels
      left[i % depth][i / depth] = row < rows && k < last ? job.a(row, k, group) : T(0);
    }
    for (int i = thread; i < depth * tile; i += threads) {
      const index_t k = k0 + i / tile, column = column0 + i % tile;
      right[i / tile][i % tile] = column < columns && k < last ? job.b(k, column, group) : T(0);
    }
    __syncthreads();
    for (int k = 0; k < depth; ++k)
      for (int r = 0; r < each; ++r)
        for (int c = 0; c < each; ++c) sum[r][c] += left[k][tr + r] * right[k][tc + c];
    __syncthreads();
  }
  for (int r = 0; r < each; ++r)
    for (int c = 0; c < each; ++c)
      if (row0 + tr + r < rows && column0 + tc + c < columns) job.store(row0 + tr + r, column0 + tc + c, group, part, sum[r][c]);
}
template <class T, class Job>
void product(const Cuda& cuda, const char* what, const Job& job, index_t rows, index_t columns, index_t total, int groups, int parts = 1) {
  const auto tiles = [](index_t n) { return static_cast<unsigned>((n + tile - 1) / tile); };
  launch(cuda, what, &product_kernel<T, Job>, dim3(tiles(rows), tiles(columns), static_cast<unsigned>(groups * parts)), threads, job, rows, columns,
         total, parts);
}

}  // namespace conv

struct Convolution {
  template <class T>
  using In4 = std::type_identity_t<View<const T, 4>>;

  template <class T>
  static void conv2d_forward(Cuda& cuda, const Conv2dGeometry& g, In4<T> x, In4<T> w, std::type_identity_t<const T*> bias, View<T, 4> y,
                             Epilogue epilogue = Epilogue::none) {
    const conv::Geometry s(g, x.shape, w.shape, y.shape);
    conv::product<T>(cuda, "conv2d_forward", conv::Forward<T>{s, x.data, w.data, bias, y.data, epilogue == Epilogue::relu},
                     y.size() / y.shape[3], s.co, taps(g) * s.ci, g.groups);
  }
  template <class T>
  static void conv2d_backward_data(Cuda& cuda, const Conv2dGeometry& g, In4<T> dy, In4<T> w, View<T, 4> dx, Write write) {
    const conv::Geometry s(g, dx.shape, w.shape, dy.shape);
    conv::product<T>(cuda, "conv2d_backward_data", conv::BackwardData<T>{s, dy.data, w.data, dx.data, write == Write::add},
                     dx.size() / dx.shape[3], s.ci, taps(g) * s.co, g.groups);
  }
  template <class T>
  static void conv2d_backward_weights(Cuda& cuda, const Conv2dGeometry& g, In4<T> x, In4<T> dy, View<T, 4> dw, Write write) {
    const conv::Geometry s(g, x.shape, dw.shape, dy.shape);
    const index_t rows = taps(g) * s.ci, pixels = dy.size() / dy.shape[3];
    const index_t tiles = ((rows + conv::tile - 1) / conv::tile) * ((s.co + conv::tile - 1) / conv::tile) * g.groups;
    const index_t wanted = 4 * cuda.multiprocessors() / tiles, useful = pixels / (8 * conv::depth);
    const index_t bound = 65535 / g.groups;  // of the grid's third axis
    const int parts = static_cast<int>(std::max<index_t>(1, std::min(std::min(wanted, useful), bound)));
    const ArenaScope scope(cuda.scratch());
    T* partial = cuda.scratch().template allocate<T>(parts * dw.size());
    conv::product<T>(cuda, "conv2d_backward_weights", conv::BackwardWeights<T>{s, x.data, dy.data, partial}, rows, s.co, pixels, g.groups, parts);
    map(cuda, "conv2d_backward_weights", dw.size(), conv::AddParts<T>{partial, dw.size(), parts, dw.data, write == Write::add});
  }

 private:
  static index_t taps(const Conv2dGeometry& g) { return index_t{g.kernel_h} * g.kernel_w; }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace retort::cuda
