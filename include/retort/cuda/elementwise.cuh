#pragma once
// Element-wise, broadcasting, gathering and reducing kernels, activations and the fused optimiser updates of the GPU.
// Most are one functor over an index, run by `map`. Sums have a fixed order: the same bits on every run.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <cmath>
#include <retort/backend/ops.hpp>
#include <retort/core/rng.hpp>
#include <retort/cuda/launch.cuh>
#include <retort/functor/math.hpp>

namespace retort::cuda {
inline namespace RETORT_CUDA_ABI {

namespace elements {

/// Extents and strides of a broadcast, without std::array, which device code cannot index.
template <int R>
struct Strides {
  index_t extent[R], a[R], b[R];
  Strides(const Shape<R>& shape_a, const Shape<R>& shape_b) {
    index_t sa = 1, sb = 1;
    for (int k = R - 1; k >= 0; --k) {
      extent[k] = shape_a[k] == 1 ? shape_b[k] : shape_a[k];
      a[k] = shape_a[k] == 1 ? 0 : sa;
      b[k] = shape_b[k] == 1 ? 0 : sb;
      sa *= shape_a[k];
      sb *= shape_b[k];
    }
  }
};

template <class T>
struct Fill {
  T value;
  T* y;
  bool add;
  __device__ void operator()(index_t i) const { y[i] = add ? y[i] + value : value; }
};
/// y = (y +) alpha * factor[0] * x; without factor, alpha * x; without x, alpha * factor[0].
template <class T>
struct Accumulate {
  T alpha;
  const T *factor, *x;
  T* y;
  bool add;
  __device__ void operator()(index_t i) const {
    const T v = (factor ? alpha * factor[0] : alpha) * (x ? x[i] : T(1));
    y[i] = add ? y[i] + v : v;
  }
};
template <class From, class To>
struct Convert {
  const From* x;
  To* y;
  __device__ void operator()(index_t i) const { y[i] = static_cast<To>(x[i]); }
};
template <class F, class T>
struct Binary {
  F f;
  const T *a, *b;
  T* y;
  __device__ void operator()(index_t i) const { y[i] = f.template value<T>(a[i], b[i]); }
};
template <class F, class T, int R>
struct BroadcastBinary {
  F f;
  Strides<R> s;
  const T *a, *b;
  T* y;
  __device__ void operator()(index_t i) const {
    index_t ia = 0, ib = 0, rest = i;
    for (int k = R - 1; k >= 0; --k) {
      const index_t at = rest % s.extent[k];
      rest /= s.extent[k];
      ia += at * s.a[k];
      ib += at * s.b[k];
    }
    y[i] = f.template value<T>(a[ia], b[ib]);
  }
};
/// One entry of the gradient to an operand: the sum over the axes along which the operand was repeated.
template <class F, class T, int R>
struct BinaryBackward {
  F f;
  Strides<R> s;
  bool second;
  const T *a, *b, *dy;
  T* dx;
  bool add;
  __device__ void operator()(index_t i) const {
    const index_t(&mine)[R] = second ? s.b : s.a;
    index_t base_a = 0, base_b = 0, base_y = 0, stride_y[R], repeats = 1, rest = i, step = 1;
    for (int k = R - 1; k >= 0; --k) {
      stride_y[k] = step;
      step *= s.extent[k];
      if (mine[k] == 0) {
        repeats *= s.extent[k];
        continue;
      }
      const index_t at = rest % s.extent[k];
      rest /= s.extent[k];
      base_a += at * s.a[k];
      base_b += at * s.b[k];
      base_y += at * stride_y[k];
    }
    T sum(0);
    for (index_t n = 0; n < repeats; ++n) {
      index_t ia = base_a, ib = base_b, iy = base_y, left = n;
      for (int k = R - 1; k >= 0; --k) {
        if (mine[k] != 0) continue;
        const index_t at = left % s.extent[k];
        left /= s.extent[k];
        ia += at * s.a[k];
        ib += at * s.b[k];
        iy += at * stride_y[k];
      }
      sum += dy[iy] * (second ? f.template d_second<T>(a[ia], b[ib]) : f.template d_first<T>(a[ia], b[ib]));
    }
    dx[i] = add ? dx[i] + sum : sum;
  }
};
template <class T>
struct SumAxis {
  index_t extent, inner;
  const T* x;
  T* y;
  __device__ void operator()(index_t i) const {
    const T* in = x + i / inner * extent * inner + i % inner;
    T sum(0);
    for (index_t k = 0; k < extent; ++k) sum += in[k * inner];
    y[i] = sum;
  }
};
template <class T>
struct RepeatAxis {
  index_t extent, inner;
  const T* dy;
  T* dx;
  bool add;
  __device__ void operator()(index_t i) const {
    const T v = dy[i / (extent * inner) * inner + i % inner];
    dx[i] = add ? dx[i] + v : v;
  }
};
template <class T>
struct CopyColumns {
  const T* x;
  index_t x_width, from;
  T* y;
  index_t y_width, to, count;
  bool add;
  __device__ void operator()(index_t i) const {
    const index_t r = i / count, c = i % count;
    const T v = x[r * x_width + from + c];
    T& out = y[r * y_width + to + c];
    out = add ? out + v : v;
  }
};
template <class T>
struct GatherRows {
  const T* table;
  const std::int32_t* index;
  index_t rows, width;
  T* y;
  __device__ void operator()(index_t i) const {
    const index_t r = index[i / width];
    y[i] = r >= 0 && r < rows ? table[r * width + i % width] : T(NAN);
  }
};
/// Four bytes of a dropout mask from one Philox block: the same bits as on the CPU.
struct DropoutMask {
  std::uint64_t seed, stream;
  float p;
  index_t count;
  std::uint8_t* mask;
  __device__ void operator()(index_t b) const {
    const Philox4 w = philox4x32({{static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(static_cast<std::uint64_t>(b) >> 32),
                                   static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)}},
                                 {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}});
    for (index_t k = 0; k < 4 && 4 * b + k < count; ++k) mask[4 * b + k] = static_cast<float>(w.word[k] >> 8) * 0x1p-24f >= p;
  }
};
template <class T>
struct MaskedScale {
  const std::uint8_t* mask;
  T scale;
  const T* x;
  T* y;
  bool add;
  __device__ void operator()(index_t i) const {
    const T v = mask[i] ? scale * x[i] : T(0);
    y[i] = add ? y[i] + v : v;
  }
};
template <class T>
struct BatchNormFold {
  const T *mean, *variance, *gamma, *beta;
  T epsilon;
  T *inv_std, *scale, *shift;
  __device__ void operator()(index_t c) const {
    inv_std[c] = T(1) / std::sqrt(variance[c] + epsilon);
    scale[c] = gamma[c] * inv_std[c];
    shift[c] = beta[c] - mean[c] * scale[c];
  }
};
template <class T>
struct UpdateRunning {
  T momentum, factor;
  const T* batch;
  T* running;
  __device__ void operator()(index_t c) const { running[c] = (T(1) - momentum) * running[c] + momentum * factor * batch[c]; }
};
template <class T>
struct Clamp {
  T bound;
  T* x;
  __device__ void operator()(index_t i) const { x[i] = x[i] > bound ? bound : x[i] < -bound ? -bound : x[i]; }
};
/// An optimiser's rule on entry i of a parameter.
template <class Rule, class T>
struct Update {
  Rule rule;
  ParameterUpdate<T> u;
  __device__ void operator()(index_t i) const {
    T w = u.weight[i], m(0), v(0);
    if (u.first) m = u.first[i];
    if (u.second) v = u.second[i];
    rule(u.decays, u.grad[i], w, u.first ? &m : nullptr, u.second ? &v : nullptr);
    if (u.first) u.first[i] = m;
    if (u.second) u.second[i] = v;
    u.weight[i] = w;
  }
};
template <class F, class T>
struct Activation {
  F f;
  const T* x;
  T* y;
  const std::uint8_t* mask;
  __device__ void operator()(index_t i) const {
    if constexpr (F::kink) {
      if (mask) {
        y[i] = f.branch_value(x[i], mask[i] != 0);
        return;
      }
    }
    y[i] = f.template value<T>(x[i]);
  }
};
template <class F, class T>
struct ActivationBackward {
  F f;
  const T *x, *y, *dy;
  T* dx;
  const std::uint8_t* mask;
  bool add;
  __device__ void operator()(index_t i) const {
    T d;
    if constexpr (F::kink) {
      if (mask)
        d = f.template branch_derivative<T>(mask[i] != 0);
      else
        d = f.template derivative<T>(x[i], y[i]);
    } else {
      d = f.template derivative<T>(x[i], y[i]);
    }
    const T g = dy[i] * d;
    dx[i] = add ? dx[i] + g : g;
  }
};
template <class T>
struct KinkMask {
  const T* x;
  std::uint8_t* mask;
  __device__ void operator()(index_t i) const { mask[i] = x[i] > T(0); }
};

/// A block per entry of the table.
template <class Rule, class T>
__global__ static void __launch_bounds__(map_threads) update_pieces(const ParameterUpdate<T>* table, Rule rule) {
  const Update<Rule, T> f{rule, table[blockIdx.x]};
  for (index_t i = threadIdx.x; i < f.u.size; i += map_threads) f(i);
}

// Rules for tables of gradients, in the form of an optimiser's (functor/optimizer.hpp): what is stepped is the gradient.
template <class T>
struct ClampRule {
  T bound;
  __device__ void operator()(bool, T grad, T& out, T*, T*) const { out = grad > bound ? bound : grad < -bound ? -bound : grad; }
};
template <class T>
struct ScaleRule {
  const T* factor;
  __device__ void operator()(bool, T grad, T& out, T*, T*) const { out = factor[0] * grad; }
};

inline constexpr int reduce_threads = 256;

/// The sum of x[first, last), or of the squares, by a block of reduce_threads; in double.
template <class T>
__device__ inline double block_sum(const T* x, index_t first, index_t last, bool squares) {
  double sum = 0;
  for (index_t i = first + threadIdx.x; i < last; i += reduce_threads) {
    const double v = static_cast<double>(x[i]);
    sum += squares ? v * v : v;
  }
  return Group<reduce_threads>::sum(sum);
}
/// The sum of squares of each entry of a table, in double.
template <class T>
__global__ static void __launch_bounds__(reduce_threads) squares_of_pieces(const ParameterUpdate<T>* table, double* partial) {
  const double sum = block_sum(table[blockIdx.x].grad, index_t{0}, table[blockIdx.x].size, true);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
/// factor[0] = what brings the norm down to `bound`, 1 for a norm within it.
template <class T>
__global__ static void __launch_bounds__(reduce_threads) norm_factor(const double* partial, int count, double bound, T* factor) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += reduce_threads) sum += partial[i];
  const double norm = std::sqrt(Group<reduce_threads>::sum(sum));
  if (threadIdx.x == 0) factor[0] = norm > bound ? static_cast<T>(bound / norm) : T(1);
}

/// One partial sum per block, over a contiguous part of x; accumulated in double.
template <class T>
__global__ static void __launch_bounds__(reduce_threads) partial_sums(const T* x, index_t n, bool squares, double* partial) {
  const double sum = block_sum(x, n * blockIdx.x / gridDim.x, n * (blockIdx.x + index_t{1}) / gridDim.x, squares);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
template <class T>
__global__ static void __launch_bounds__(reduce_threads) last_sum(const double* partial, int count, double scale, T* out) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += reduce_threads) sum += partial[i];
  sum = Group<reduce_threads>::sum(sum);
  if (threadIdx.x == 0) out[0] = static_cast<T>(scale * sum);
}

}  // namespace elements

struct Elementwise {
  template <class T, int R>
  static void fill(Cuda& cuda, T value, View<T, R> y) { map(cuda, "fill", y.size(), elements::Fill<T>{value, y.data, false}); }
  template <class T, int R>
  static void add_scalar(Cuda& cuda, T value, View<T, R> y) { map(cuda, "add_scalar", y.size(), elements::Fill<T>{value, y.data, true}); }
  template <class T>
  static void accumulate(Cuda& cuda, T alpha, std::type_identity_t<View<const T, 1>> x, View<T, 1> y, Write write) {
    map(cuda, "accumulate", y.size(), elements::Accumulate<T>{alpha, nullptr, x.data, y.data, write == Write::add});
  }
  template <class T>
  static void accumulate_by(Cuda& cuda, T alpha, const T* factor, std::type_identity_t<View<const T, 1>> x, View<T, 1> y, Write write) {
    map(cuda, "accumulate_by", y.size(), elements::Accumulate<T>{alpha, factor, x.data, y.data, write == Write::add});
  }
  template <class From, class To>
  static void convert(Cuda& cuda, View<const From, 1> x, View<To, 1> y) { map(cuda, "convert", x.size(), elements::Convert<From, To>{x.data, y.data}); }

  template <class F, class T, int R>
  static void binary(Cuda& cuda, F f, View<const T, R> a, View<const T, R> b, View<T, R> y) {
    if (a.shape == b.shape)
      map(cuda, "binary", y.size(), elements::Binary<F, T>{f, a.data, b.data, y.data});
    else
      map(cuda, "binary", y.size(), elements::BroadcastBinary<F, T, R>{f, elements::Strides<R>(a.shape, b.shape), a.data, b.data, y.data});
  }
  template <class F, class T, int R>
  static void binary_backward(Cuda& cuda, F f, bool second, View<const T, R> a, View<const T, R> b, View<const T, R> dy, View<T, R> dx,
                              Write write) {
    map(cuda, "binary_backward", dx.size(),
        elements::BinaryBackward<F, T, R>{f, elements::Strides<R>(a.shape, b.shape), second, a.data, b.data, dy.data, dx.data, write == Write::add});
  }
  template <class T, int R>
  static void sum_axis(Cuda& cuda, int axis, View<const T, R> x, View<T, R> y) {
    map(cuda, "sum_axis", y.size(), elements::SumAxis<T>{x.shape[axis], inner(x.shape, axis), x.data, y.data});
  }
  template <class T, int R>
  static void repeat_axis(Cuda& cuda, int axis, View<const T, R> dy, View<T, R> dx, Write write) {
    map(cuda, "repeat_axis", dx.size(), elements::RepeatAxis<T>{dx.shape[axis], inner(dx.shape, axis), dy.data, dx.data, write == Write::add});
  }
  /// y[0] = scale * sum of x, accumulated in double.
  template <class T>
  static void scaled_sum(Cuda& cuda, T scale, std::type_identity_t<View<const T, 1>> x, View<T, 1> y) {
    reduce(cuda, x, false, scale, y.data);
  }
  /// Waits for the device.
  template <class T>
  static double sum_of_squares(Cuda& cuda, View<const T, 1> x) {
    const ArenaScope scope(cuda.scratch());
    double* out = cuda.scratch().template allocate<double>(1);
    reduce(cuda, x, true, 1, out);
    return item(cuda, out);
  }
  /// The value behind a pointer to device memory; waits for the device.
  template <class T>
  static T item(Cuda& cuda, const T* at) {
    T out;
    cuda.transfer(&out, at, sizeof(T));
    return out;
  }

  template <class T>
  static void copy_columns(Cuda& cuda, View<const T, 2> x, index_t from, View<T, 2> y, index_t to, index_t count, Write write) {
    map(cuda, "copy_columns", x.shape[0] * count, elements::CopyColumns<T>{x.data, x.shape[1], from, y.data, y.shape[1], to, count, write == Write::add});
  }
  /// The host does not see the indices: the row of one that leaves the table is NaN.
  template <class T>
  static void gather_rows(Cuda& cuda, View<const T, 2> table, View<const std::int32_t, 1> index, View<T, 2> y) {
    map(cuda, "gather_rows", y.size(), elements::GatherRows<T>{table.data, index.data, table.shape[0], table.shape[1], y.data});
  }
  static void dropout_mask(Cuda& cuda, const Rng& rng, float p, index_t count, std::uint8_t* mask) {
    map(cuda, "dropout_mask", (count + 3) / 4, elements::DropoutMask{rng.seed(), rng.stream(), p, count, mask});
  }
  template <class T>
  static void masked_scale(Cuda& cuda, const std::uint8_t* mask, T scale, std::type_identity_t<View<const T, 1>> x, View<T, 1> y, Write write) {
    map(cuda, "masked_scale", y.size(), elements::MaskedScale<T>{mask, scale, x.data, y.data, write == Write::add});
  }
  template <class T>
  static void batch_norm_fold(Cuda& cuda, index_t channels, const T* mean, const T* variance, const T* gamma, const T* beta, T epsilon,
                              T* inv_std, T* scale, T* shift) {
    map(cuda, "batch_norm_fold", channels, elements::BatchNormFold<T>{mean, variance, gamma, beta, epsilon, inv_std, scale, shift});
  }
  template <class T>
  static void update_running(Cuda& cuda, index_t channels, T momentum, T factor, const T* batch, T* running) {
    map(cuda, "update_running", channels, elements::UpdateRunning<T>{momentum, factor, batch, running});
  }
  template <class T>
  static void clamp(Cuda& cuda, T bound, View<T, 1> x) { map(cuda, "clamp", x.size(), elements::Clamp<T>{bound, x.data}); }
  template <class Rule, class T>
  static void update(Cuda& cuda, const Rule& rule, const ParameterUpdate<T>& u) {
    map(cuda, "update", u.size, elements::Update<Rule, T>{rule, u});
  }
  /// Pieces of a size of which a large network has enough to fill the device, and each enough for every thread of its block.
  static constexpr index_t update_piece = 4096;
  /// One launch for the whole table.
  template <class Rule, class T>
  static void update(Cuda& cuda, const Rule& rule, View<const ParameterUpdate<T>, 1> table) {
    launch(cuda, "update_pieces", &elements::update_pieces<Rule, T>, static_cast<unsigned>(table.size()), map_threads, table.data, rule);
  }
  /// Clips each entry of the gradients to [-bound, bound], in place.
  template <class T>
  static void clip_values(Cuda& cuda, T bound, View<const ParameterUpdate<T>, 1> table) { update(cuda, elements::ClampRule<T>{bound}, table); }
  /// Scales the gradients of a table, in place, to a norm of at most `bound` all together. Nothing is read back.
  template <class T>
  static void clip_norm(Cuda& cuda, double bound, View<const ParameterUpdate<T>, 1> table) {
    const ArenaScope scope(cuda.scratch());
    double* partial = cuda.scratch().template allocate<double>(table.size());
    T* factor = cuda.scratch().template allocate<T>(1);
    launch(cuda, "clip_norm", &elements::squares_of_pieces<T>, static_cast<unsigned>(table.size()), elements::reduce_threads, table.data, partial);
    launch(cuda, "clip_norm", &elements::norm_factor<T>, 1, elements::reduce_threads, partial, static_cast<int>(table.size()), bound, factor);
    update(cuda, elements::ScaleRule<T>{factor}, table);
  }

  template <class F, class T>
  static void activation_forward(Cuda& cuda, const F& f, std::type_identity_t<View<const T, 1>> x, View<T, 1> y) {
    map(cuda, "activation_forward", y.size(), elements::Activation<F, T>{f, x.data, y.data, nullptr});
  }
  template <class F, class T>
  static void activation_forward_masked(Cuda& cuda, const F& f, std::type_identity_t<View<const T, 1>> x, View<T, 1> y, const std::uint8_t* mask) {
    map(cuda, "activation_forward_masked", y.size(), elements::Activation<F, T>{f, x.data, y.data, mask});
  }
  template <class F, class T>
  static void activation_backward(Cuda& cuda, const F& f, std::type_identity_t<View<const T, 1>> x, std::type_identity_t<View<const T, 1>> y,
                                  std::type_identity_t<View<const T, 1>> dy, View<T, 1> dx, Write write, const std::uint8_t* mask = nullptr) {
    map(cuda, "activation_backward", dx.size(), elements::ActivationBackward<F, T>{f, x.data, y.data, dy.data, dx.data, mask, write == Write::add});
  }
  template <class T>
  static void kink_mask(Cuda& cuda, View<const T, 1> x, std::uint8_t* mask) {
    map(cuda, "kink_mask", x.size(), elements::KinkMask<T>{x.data, mask});
  }

 private:
  template <int R>
  static index_t inner(const Shape<R>& shape, int axis) {
    index_t n = 1;
    for (int a = axis + 1; a < R; ++a) n *= shape[a];
    return n;
  }
  template <class T, class Out>
  static void reduce(Cuda& cuda, View<const T, 1> x, bool squares, double scale, Out* out) {
    const unsigned blocks = blocks_for(cuda, x.size(), 8 * elements::reduce_threads);
    const ArenaScope scope(cuda.scratch());
    double* partial = cuda.scratch().template allocate<double>(blocks > 0 ? blocks : 1);
    launch(cuda, "partial_sums", &elements::partial_sums<T>, blocks, elements::reduce_threads, x.data, x.size(), squares, partial);
    launch(cuda, "last_sum", &elements::last_sum<Out>, 1, elements::reduce_threads, partial, static_cast<int>(blocks), scale, out);
  }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace retort::cuda
