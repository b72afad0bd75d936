#pragma once
// 2-D convolution of NHWC images as an implicit matrix product: the patches of an image are never written out, a tile of
// them is gathered into shared memory. One kernel, three pairs of gathering functors: forward, by the input, by the weights;
// two arithmetics: on CUDA cores, and on tensor cores, of BFloat16, and in TF32 where the context allows that for float.
// Depthwise convolutions go through the same gathers without a tile.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <algorithm>
#include <retort/backend/ops.hpp>
#include <retort/cuda/launch.cuh>

namespace retort::cuda {
inline namespace RETORT_CUDA_ABI {

namespace conv {

/// Sizes of a convolution. `ci` and `co` are channels of one group.
struct Geometry {
  int kernel_h, kernel_w, stride, padding, groups, h, w, oh, ow;
  index_t ci, co;
  Geometry(const Conv2dGeometry& g, const Shape<4>& x, const Shape<4>& weight, const Shape<4>& y)
      : kernel_h(g.kernel_h), kernel_w(g.kernel_w), stride(g.stride), padding(g.padding), groups(g.groups), h(static_cast<int>(x[1])),
        w(static_cast<int>(x[2])), oh(static_cast<int>(y[1])), ow(static_cast<int>(y[2])), ci(weight[2]), co(weight[3] / g.groups) {}
};

// A gathered index is taken apart once, when a thread meets it first: divisions cost more than what is gathered by them.

/// A flat index k of taps and channels.
struct Tap {
  index_t k, channel;
  int tap, y, x;
  Tap() = default;
  __device__ Tap(const Geometry& g, index_t k, index_t channels) : k(k), tap(static_cast<int>(k / channels)) {
    channel = k - tap * channels;
    y = tap / g.kernel_w;
    x = tap - y * g.kernel_w;
  }
  __device__ void advance(const Geometry& g, index_t channels) {
    ++k;
    if (++channel < channels) return;
    channel = 0, ++tap;
    if (++x == g.kernel_w) x = 0, ++y;
  }
};
/// A flat index k of pixels, width x height to an image.
struct Pixel {
  index_t k;
  int image, y, x;
  Pixel() = default;
  __device__ Pixel(index_t k, int height, int width) : k(k) {
    const index_t line = k / width;
    x = static_cast<int>(k - line * width);
    image = static_cast<int>(line / height);
    y = static_cast<int>(line - index_t{image} * height);
  }
  __device__ void advance(int height, int width) {
    ++k;
    if (++x < width) return;
    x = 0;
    if (++y == height) y = 0, ++image;
  }
};
/// What a tap of an output pixel reads: zero in the padding.
template <class T>
__device__ inline T patch(const Geometry& g, const T* x, const Pixel& out, const Tap& tap, int group) {
  const int iy = out.y * g.stride - g.padding + tap.y, ix = out.x * g.stride - g.padding + tap.x;
  if (iy < 0 || ix < 0 || iy >= g.h || ix >= g.w) return T{};
  return x[((index_t{out.image} * (g.h * g.w) + (iy * g.w + ix)) * g.groups + group) * g.ci + tap.channel];
}

/// Rows: output pixels; columns: output channels; depth: taps x input channels. Neighbours in memory: along the depth in a,
/// along the columns in b.
template <class T, class Stored>
struct Forward {
  static constexpr bool a_by_row = false, b_by_column = true;
  Geometry g;
  const Stored *x, *weight;
  const Sum<Stored>* bias;
  T* y;
  bool relu;
  __device__ Pixel row(index_t pixel) const { return Pixel(pixel, g.oh, g.ow); }
  __device__ Tap deep(index_t k) const { return Tap(g, k, g.ci); }
  __device__ void next(Tap& tap) const { tap.advance(g, g.ci); }
  __device__ Stored a(const Pixel& pixel, const Tap& tap, int group) const { return patch(g, x, pixel, tap, group); }
  __device__ Stored b(const Tap& tap, index_t column, int group) const { return weight[(tap.k * g.groups + group) * g.co + column]; }
  __device__ void store(index_t pixel, index_t column, int group, int, Sum<Stored> value) const {
    const index_t channel = group * g.co + column;
    if (bias) value += bias[channel];
    y[pixel * g.groups * g.co + channel] = T(relu && !(value > 0) ? 0 : value);
  }
};
/// Rows: input pixels; columns: input channels; depth: taps x output channels.
template <class T, class Stored>
struct BackwardData {
  static constexpr bool a_by_row = false, b_by_column = false;
  Geometry g;
  const Stored *dy, *weight;
  T* dx;
  bool add;
  __device__ Pixel row(index_t pixel) const { return Pixel(pixel, g.h, g.w); }
  __device__ Tap deep(index_t k) const { return Tap(g, k, g.co); }
  __device__ void next(Tap& tap) const { tap.advance(g, g.co); }
  __device__ Stored a(const Pixel& pixel, const Tap& tap, int group) const {
    const int sy = pixel.y + g.padding - tap.y, sx = pixel.x + g.padding - tap.x;
    const int oy = g.stride == 1 ? sy : sy / g.stride, ox = g.stride == 1 ? sx : sx / g.stride;
    if (sy < 0 || sx < 0 || oy * g.stride != sy || ox * g.stride != sx || oy >= g.oh || ox >= g.ow) return Stored{};
    return dy[((index_t{pixel.image} * (g.oh * g.ow) + (oy * g.ow + ox)) * g.groups + group) * g.co + tap.channel];
  }
  __device__ Stored b(const Tap& tap, index_t column, int group) const {
    return weight[((tap.tap * g.ci + column) * g.groups + group) * g.co + tap.channel];
  }
  __device__ void store(index_t pixel, index_t column, int group, int, Sum<Stored> value) const {
    T& to = dx[(pixel * g.groups + group) * g.ci + column];
    to = T(add ? to + value : value);
  }
};
/// Rows: taps x input channels; columns: output channels; depth: output pixels, in parts that are added up afterwards.
template <class Stored>
struct BackwardWeights {
  static constexpr bool a_by_row = true, b_by_column = true;
  Geometry g;
  const Stored *x, *dy;
  Sum<Stored>* partial;
  __device__ Tap row(index_t k) const { return Tap(g, k, g.ci); }
  __device__ Pixel deep(index_t pixel) const { return Pixel(pixel, g.oh, g.ow); }
  __device__ void next(Pixel& pixel) const { pixel.advance(g.oh, g.ow); }
  __device__ Stored a(const Tap& tap, const Pixel& pixel, int group) const { return patch(g, x, pixel, tap, group); }
  __device__ Stored b(const Pixel& pixel, index_t column, int group) const { return dy[(pixel.k * g.groups + group) * g.co + column]; }
  __device__ void store(index_t row, index_t column, int group, int part, Sum<Stored> value) const {
    const index_t size = index_t{g.kernel_h} * g.kernel_w * g.ci * g.groups * g.co;
    partial[part * size + (row * g.groups + group) * g.co + column] = value;
  }
};
template <class T, class Partial>
struct AddParts {
  const Partial* partial;
  index_t size;
  int parts;
  T* out;
  bool add;
  __device__ void operator()(index_t i) const {
    Partial sum(0);
    for (int p = 0; p < parts; ++p) sum += partial[p * size + i];
    out[i] = T(add ? out[i] + sum : sum);
  }
};

inline constexpr int depth = 16, threads = 256;  ///< of a tile; of a block

/// Values of a word, which follow each other along the depth.
template <class T>
inline constexpr int packed = sizeof(T) < 4 ? 4 / sizeof(T) : 1;

/// A tile of the two operands, rows x depth and depth x columns, the latter word by word. The paddings keep the lanes of a
/// fragment, which go down a column of `a` and of `b`, on banks of their own.
template <class T, int Rows, int Columns>
struct Tile {
  alignas(16) T a[Rows][depth + 4 * packed<T>];
  T b[depth / packed<T>][Columns + 8][packed<T>];
};

/// Each thread keeps a square of results.
template <class T>
class CudaCores {
 public:
  static constexpr int rows = 64, columns = 64;
  static __device__ T staged(T x) { return x; }
  __device__ void add(const Tile<T, rows, columns>& tile) {
    RETORT_UNROLL
    for (int k = 0; k < depth; ++k)
      RETORT_UNROLL
      for (int r = 0; r < each; ++r)
        RETORT_UNROLL
        for (int c = 0; c < each; ++c) sum_[r][c] += tile.a[row() + r][k] * tile.b[k][column() + c][0];
  }
  template <class F>
  __device__ void results(F&& f) const {
    RETORT_UNROLL
    for (int r = 0; r < each; ++r)
      RETORT_UNROLL
      for (int c = 0; c < each; ++c) f(row() + r, column() + c, sum_[r][c]);
  }

 private:
  static constexpr int each = 4, across = columns / each;
  static_assert(across * rows / each == threads);
  static __device__ int row() { return static_cast<int>(threadIdx.x) / across * each; }
  static __device__ int column() { return static_cast<int>(threadIdx.x) % across * each; }
  T sum_[each][each] = {};
};

/// The 16 x 8 product of a warp over 8 words of depth (PTX: mma.m16n8k8 on .tf32, m16n8k16 on .bf16): which word of the left
/// operand (row, k), of the right one (k, column) and which element of the result (row, column) a lane keeps in its register i.
struct Fragment {
  static constexpr int rows = 16, columns = 8, depth = 8;
  struct At {
    int down, across;
  };
  static RETORT_HD At a(int lane, int i) { return {lane / 4 + i % 2 * 8, lane % 4 + i / 2 * 4}; }
  static RETORT_HD At b(int lane, int i) { return {lane % 4 + i * 4, lane / 4}; }
  static RETORT_HD At c(int lane, int i) { return {lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2}; }
  /// Who keeps an element: the other way round.
  struct Keeper {
    int lane, i;
  };
  static RETORT_HD Keeper of_a(int row, int k) { return {row % 8 * 4 + k % 4, row / 8 + k / 4 * 2}; }
  static RETORT_HD Keeper of_b(int k, int column) { return {column * 4 + k % 4, k / 4}; }
};

/// The nearest number with ten bits of mantissa, ties away from zero.
__device__ inline float to_tf32(float x) {
#if defined(RETORT_TENSOR_CORES)
  unsigned word;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(x));
#else
  unsigned word;
  memcpy(&word, &x, sizeof word);
  if (x == x) word = (word + 0x1000u) & ~0x1fffu;
#endif
  memcpy(&x, &word, sizeof word);
  return x;
}
/// c += a b over the lanes of a warp, all of which must come; words of floats in TF32, or of two BFloat16. Elsewhere than on
/// tensor cores by shuffles.
template <class T>
__device__ inline void multiply_add(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if defined(RETORT_TENSOR_CORES)
  if constexpr (packed<T> == 1)
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  RETORT_UNROLL
  for (int k = 0; k < Fragment::depth; ++k) {
    T left[2][packed<T>], right[2][packed<T>];
    RETORT_UNROLL
    for (int h = 0; h < 2; ++h) {
      const auto from_a = Fragment::of_a(Fragment::c(lane, 2 * h).down, k), from_b = Fragment::of_b(k, Fragment::c(lane, h).across);
      const unsigned wa = __shfl_sync(all_lanes, a[from_a.i], from_a.lane), wb = __shfl_sync(all_lanes, b[from_b.i], from_b.lane);
      memcpy(left[h], &wa, sizeof wa);
      memcpy(right[h], &wb, sizeof wb);
    }
    RETORT_UNROLL
    for (int i = 0; i < 4; ++i)
      RETORT_UNROLL
      for (int j = 0; j < packed<T>; ++j) c[i] += left[i / 2][j] * right[i % 2][j];
  }
#endif
}

/// Each warp keeps 32 rows times half the columns of the results. Factors are BFloat16, or rounded to TF32; sums are of float.
template <class T, int Columns>
class TensorCores {
 public:
  static constexpr int rows = 128, columns = Columns;
  static __device__ T staged(T x) {
    if constexpr (packed<T> == 1)
      return to_tf32(x);
    else
      return x;
  }
  __device__ void add(const Tile<T, rows, columns>& tile) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
    RETORT_UNROLL
    for (int k = 0; k < depth / packed<T>; k += Fragment::depth) {
      unsigned a[down][4];
      RETORT_UNROLL
      for (int d = 0; d < down; ++d)
        RETORT_UNROLL
        for (int i = 0; i < 4; ++i) {
          const auto at = Fragment::a(lane, i);
          a[d][i] = word(&tile.a[row(d) + at.down][(k + at.across) * packed<T>]);
        }
      RETORT_UNROLL
      for (int c = 0; c < across; ++c) {
        unsigned b[2];
        RETORT_UNROLL
        for (int i = 0; i < 2; ++i) {
          const auto at = Fragment::b(lane, i);
          b[i] = word(tile.b[k + at.down][column(c) + at.across]);
        }
        RETORT_UNROLL
        for (int d = 0; d < down; ++d) multiply_add<T>(sum_[d][c], a[d], b);
      }
    }
  }
  template <class F>
  __device__ void results(F&& f) const {
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
    RETORT_UNROLL
    for (int d = 0; d < down; ++d)
      RETORT_UNROLL
      for (int c = 0; c < across; ++c)
        RETORT_UNROLL
        for (int i = 0; i < 4; ++i) {
          const auto at = Fragment::c(lane, i);
          f(row(d) + at.down, column(c) + at.across, sum_[d][c][i]);
        }
  }

 private:
  static constexpr int down = 2, across = Columns / 2 / Fragment::columns;  // fragments of a warp
  static_assert(rows * columns == threads / warp_size * down * across * Fragment::rows * Fragment::columns && depth / packed<T> % Fragment::depth == 0);
  static __device__ unsigned word(const T* at) {
    unsigned out;
    memcpy(&out, __builtin_assume_aligned(at, sizeof out), sizeof out);
    return out;
  }
  static __device__ int row(int d) { return (static_cast<int>(threadIdx.x) / warp_size / 2 * down + d) * Fragment::rows; }
  static __device__ int column(int c) { return (static_cast<int>(threadIdx.x) / warp_size % 2 * across + c) * Fragment::columns; }
  float sum_[down][across][4] = {};
};
/// Up to this many columns the narrower tile of tensor cores serves: 32 columns, else 64. To be measured on a device.
inline constexpr index_t narrow = 32;

/// How the threads of a block spread over a plane of `Across` x depth elements of an operand: neighbours along the depth, or
/// across it. Each thread has `width` x `height` elements, at(w) across and deep(h) along.
template <bool NeighboursAcross, int Across>
struct Spread {
  static constexpr int lanes = NeighboursAcross ? warp_size : threads / depth, layers = threads / lanes;
  static constexpr int width = Across / lanes, height = depth / layers;
  static_assert(width * lanes == Across && height * layers == depth);
  static __device__ int at(int w) {
    const int thread = static_cast<int>(threadIdx.x);
    return (NeighboursAcross ? thread % lanes : thread / layers) + w * lanes;
  }
  static __device__ int deep(int h) {
    const int thread = static_cast<int>(threadIdx.x);
    return (NeighboursAcross ? thread / lanes : thread % layers) + h * layers;
  }
};

/// store(row, column, group, part, sum over the part's depth of a(row, k) b(k, column)). Grid: row tiles x column tiles x
/// (groups * parts). The next tile comes from memory while this one is multiplied.
template <class Arithmetic, class T, class Job>
__global__ static void __launch_bounds__(threads, 2) product_kernel(Job job, index_t rows, index_t columns, index_t total, int parts) {
  __shared__ Tile<T, Arithmetic::rows, Arithmetic::columns> tile;
  using A = Spread<Job::a_by_row, Arithmetic::rows>;
  using B = Spread<Job::b_by_column, Arithmetic::columns>;
  const int group = static_cast<int>(blockIdx.z) / parts, part = static_cast<int>(blockIdx.z) % parts;
  const index_t row0 = index_t{blockIdx.x} * Arithmetic::rows, column0 = index_t{blockIdx.y} * Arithmetic::columns;
  const index_t first = total * part / parts, last = total * (part + 1) / parts;
  decltype(job.row(0)) row[A::width];
  RETORT_UNROLL
  for (int w = 0; w < A::width; ++w) row[w] = job.row(row0 + A::at(w));
  T a[A::width][A::height], b[B::width][B::height];
  const auto fetch = [&](index_t k0) {
    RETORT_UNROLL
    for (int h = 0; h < A::height; ++h) {
      const index_t k = k0 + A::deep(h);
      const auto deep = job.deep(k);
      RETORT_UNROLL
      for (int w = 0; w < A::width; ++w) a[w][h] = row0 + A::at(w) < rows && k < last ? job.a(row[w], deep, group) : T{};
    }
    RETORT_UNROLL
    for (int h = 0; h < B::height; ++h) {
      const index_t k = k0 + B::deep(h);
      const auto deep = job.deep(k);
      RETORT_UNROLL
      for (int w = 0; w < B::width; ++w) {
        const index_t column = column0 + B::at(w);
        b[w][h] = column < columns && k < last ? job.b(deep, column, group) : T{};
      }
    }
  };
  Arithmetic sums;
  fetch(first);
  for (index_t k0 = first; k0 < last; k0 += depth) {
    RETORT_UNROLL
    for (int w = 0; w < A::width; ++w)
      RETORT_UNROLL
      for (int h = 0; h < A::height; ++h) tile.a[A::at(w)][A::deep(h)] = Arithmetic::staged(a[w][h]);
    RETORT_UNROLL
    for (int w = 0; w < B::width; ++w)
      RETORT_UNROLL
      for (int h = 0; h < B::height; ++h) tile.b[B::deep(h) / packed<T>][B::at(w)][B::deep(h) % packed<T>] = Arithmetic::staged(b[w][h]);
    __syncthreads();
    if (k0 + depth < last) fetch(k0 + depth);
    sums.add(tile);
    __syncthreads();
  }
  sums.results([&](int r, int c, Sum<T> value) {
    if (row0 + r < rows && column0 + c < columns) job.store(row0 + r, column0 + c, group, part, value);
  });
}

/// In place of an arithmetic, for groups of one channel that give one: a tile would have one column, so that nothing that is read
/// serves two results.
struct Depthwise {};

/// Each thread has a result; neighbours have neighbouring channels, so that all reads are of lines.
template <class T, class Job>
struct DepthwiseResult {
  Job job;
  index_t rows, total;
  int groups, parts;
  __device__ void operator()(index_t i) const {
    const index_t line = i / groups, at = line % rows;
    const int group = static_cast<int>(i - line * groups), part = static_cast<int>(line / rows);
    const index_t first = total * part / parts, last = total * (part + 1) / parts;
    const auto row = job.row(at);
    auto deep = job.deep(first);
    Sum<T> sum(0);
    for (index_t k = first; k < last; ++k, job.next(deep)) sum += job.a(row, deep, group) * job.b(deep, 0, group);
    job.store(at, 0, group, part, sum);
  }
};

inline index_t tiles(index_t n, int size) { return (n + size - 1) / size; }
template <class Arithmetic>
index_t blocks(index_t rows, index_t columns, int groups) {
  if constexpr (std::is_same_v<Arithmetic, Depthwise>)
    return tiles(rows * groups, map_threads);
  else
    return tiles(rows, Arithmetic::rows) * tiles(columns, Arithmetic::columns) * groups;
}
template <class Arithmetic, class T, class Job>
void product(const Cuda& cuda, const char* what, const Job& job, index_t rows, index_t columns, index_t total, int groups, int parts = 1) {
  if constexpr (std::is_same_v<Arithmetic, Depthwise>)
    map(cuda, what, rows * groups * parts, DepthwiseResult<T, Job>{job, rows, total, groups, parts});
  else
    launch(cuda, what, &product_kernel<Arithmetic, T, Job>,
           dim3(static_cast<unsigned>(tiles(rows, Arithmetic::rows)), static_cast<unsigned>(tiles(columns, Arithmetic::columns)), static_cast<unsigned>(groups * parts)),
           threads, job, rows, columns, total, parts);
}

}  // namespace conv

/// The CPU's functions of these names (backend/cpu_conv.hpp): same shapes, same errors. `Stored` is what the operands are stored
/// as, the result's type T unless it is named. Products of BFloat16 are summed in float, with a bias of float; the result is
/// float or BFloat16, rounded once, after what Write::add finds there was added. So
/// conv2d_backward_weights<float, BFloat16>(cuda, g, x, dy, dw, write) gives gradients for float weights.
struct Convolution {
  template <class Stored>
  using In4 = std::type_identity_t<View<const Stored, 4>>;

  template <class T, class Stored = T>
  static void conv2d_forward(Cuda& cuda, const Conv2dGeometry& g, In4<Stored> x, In4<Stored> w, std::type_identity_t<const Sum<Stored>*> bias,
                             View<T, 4> y, Epilogue epilogue = Epilogue::none) {
    const conv::Geometry s = checked<T, Stored>("conv2d_forward", g, x.shape, w.shape, y.shape);
    by_arithmetic<Stored>(cuda, s, s.co, [&]<class Arithmetic>(Arithmetic*) {
      conv::product<Arithmetic, Stored>(cuda, "conv2d_forward", conv::Forward<T, Stored>{s, x.data, w.data, bias, y.data, epilogue == Epilogue::relu},
                                        y.size() / y.shape[3], s.co, taps(g) * s.ci, g.groups);
    });
  }
  template <class T, class Stored = T>
  static void conv2d_backward_data(Cuda& cuda, const Conv2dGeometry& g, In4<Stored> dy, In4<Stored> w, View<T, 4> dx, Write write) {
    const conv::Geometry s = checked<T, Stored>("conv2d_backward_data", g, dx.shape, w.shape, dy.shape);
    by_arithmetic<Stored>(cuda, s, s.ci, [&]<class Arithmetic>(Arithmetic*) {
      conv::product<Arithmetic, Stored>(cuda, "conv2d_backward_data", conv::BackwardData<T, Stored>{s, dy.data, w.data, dx.data, write == Write::add},
                                        dx.size() / dx.shape[3], s.ci, taps(g) * s.co, g.groups);
    });
  }
  template <class T, class Stored = T>
  static void conv2d_backward_weights(Cuda& cuda, const Conv2dGeometry& g, In4<Stored> x, In4<Stored> dy, View<T, 4> dw, Write write) {
    const conv::Geometry s = checked<T, Stored>("conv2d_backward_weights", g, x.shape, dw.shape, dy.shape);
    const index_t rows = taps(g) * s.ci, pixels = dy.size() / dy.shape[3];
    by_arithmetic<Stored>(cuda, s, s.co, [&]<class Arithmetic>(Arithmetic*) {
      const index_t wanted = 4 * cuda.multiprocessors() / conv::blocks<Arithmetic>(rows, s.co, g.groups), useful = pixels / (8 * conv::depth);
      const index_t bound = 65535 / g.groups;  // of the grid's third axis
      const int parts = static_cast<int>(std::max<index_t>(1, std::min(std::min(wanted, useful), bound)));
      const ArenaScope scope(cuda.scratch());
      using Partial = Sum<Stored>;
      Partial* partial = cuda.scratch().template allocate<Partial>(parts * dw.size());
      conv::product<Arithmetic, Stored>(cuda, "conv2d_backward_weights", conv::BackwardWeights<Stored>{s, x.data, dy.data, partial}, rows, s.co,
                                        pixels, g.groups, parts);
      map(cuda, "conv2d_backward_weights", dw.size(), conv::AddParts<T, Partial>{partial, dw.size(), parts, dw.data, write == Write::add});
    });
  }

 private:
  static index_t taps(const Conv2dGeometry& g) { return index_t{g.kernel_h} * g.kernel_w; }

  template <class T, class Stored>
  static conv::Geometry checked(const char* what, const Conv2dGeometry& g, const Shape<4>& x, const Shape<4>& w, const Shape<4>& y) {
    static_assert(std::is_same_v<T, Stored> || std::is_same_v<T, Sum<Stored>>,
                  "retort: a convolution of BFloat16 gives float or BFloat16, any other one gives the type of its operands");
    g.check(what, x, w, y);
    return {g, x, w, y};
  }

  /// f(null pointer to the arithmetic).
  template <class Stored, class F>
  static void by_arithmetic(const Cuda& cuda, const conv::Geometry& s, index_t columns, const F& f) {
    constexpr bool bf16 = std::is_same_v<Stored, BFloat16>;
    if (s.ci == 1 && s.co == 1) return f(static_cast<conv::Depthwise*>(nullptr));
    if constexpr (bf16 || std::is_same_v<Stored, float>)
      if (bf16 || cuda.tf32()) {
        if (columns <= conv::narrow) return f(static_cast<conv::TensorCores<Stored, 32>*>(nullptr));
        return f(static_cast<conv::TensorCores<Stored, 64>*>(nullptr));
      }
    if constexpr (!bf16) f(static_cast<conv::CudaCores<Stored>*>(nullptr));
  }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace retort::cuda
