#pragma once
// Operations on the rows of a matrix: softmax, and choices within rows. A warp owns a row.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <retort/backend/ops.hpp>
#include <retort/cuda/elementwise.cuh>

namespace retort::cuda {
inline namespace RETORT_CUDA_ABI {

namespace rowwise {

inline constexpr int rows_per_block = 4;
using Warp = Group<warp_size>;

/// The largest entry seen, and its column: of equal ones the lower column.
template <class T>
struct Best {
  T value;
  std::int32_t column, pad;
};
template <class T>
__device__ inline Best<T> better(Best<T> a, Best<T> b) {
  const bool second = a.column < 0 || (b.column >= 0 && (b.value > a.value || (b.value == a.value && b.column < a.column)));
  return second ? b : a;
}
/// The best entry of a row among those that `before` precedes in the order (value falling, column rising).
template <class T>
__device__ inline Best<T> best_after(const T* row, index_t width, Best<T> before) {
  Best<T> best{T(0), -1, 0};
  for (index_t c = Warp::rank(); c < width; c += warp_size) {
    const Best<T> mine{row[c], static_cast<std::int32_t>(c), 0};
    const bool allowed = before.column < 0 || mine.value < before.value || (mine.value == before.value && mine.column > before.column);
    if (allowed) best = better(best, mine);
  }
  return Warp::reduce(best, [](Best<T> a, Best<T> b) { return better(a, b); });
}

/// f(row) for each row, by a warp.
template <class F>
__global__ static void __launch_bounds__(warp_size* rows_per_block) row_kernel(index_t rows, F f) {
  const index_t step = index_t{gridDim.x} * blockDim.y;
  for (index_t r = index_t{blockIdx.x} * blockDim.y + threadIdx.y; r < rows; r += step) f(r);
}
template <class F>
void each_row(const Cuda& cuda, const char* what, index_t rows, const F& f) {
  launch(cuda, what, &row_kernel<F>, blocks_for(cuda, rows, rows_per_block), dim3(warp_size, rows_per_block), rows, f);
}

template <class T>
struct SoftmaxForward {
  const T* x;
  T* y;
  index_t width;
  bool log;
  __device__ void operator()(index_t r) const {
    const T* in = x + r * width;
    T* out = y + r * width;
    const T top = best_after(in, width, Best<T>{T(0), -1, 0}).value;
    T sum(0);
    for (index_t c = Warp::rank(); c < width; c += warp_size) sum += std::exp(in[c] - top);
    sum = Warp::sum(sum);
    const T inverse = T(1) / sum, shift = std::log(sum);
    for (index_t c = Warp::rank(); c < width; c += warp_size) out[c] = log ? (in[c] - top) - shift : std::exp(in[c] - top) * inverse;
  }
};
template <class T>
struct SoftmaxBackward {
  const T *y, *dy;
  T* dx;
  index_t width;
  bool log, add;
  __device__ void operator()(index_t r) const {
    const T *p = y + r * width, *g = dy + r * width;
    T* out = dx + r * width;
    T sum(0);
    for (index_t c = Warp::rank(); c < width; c += warp_size) sum += log ? g[c] : p[c] * g[c];
    sum = Warp::sum(sum);
    for (index_t c = Warp::rank(); c < width; c += warp_size) {
      const T d = log ? g[c] - std::exp(p[c]) * sum : p[c] * (g[c] - sum);
      out[c] = add ? out[c] + d : d;
    }
  }
};
template <class T>
struct ArgMax {
  const T* x;
  index_t width;
  std::int32_t* index;
  __device__ void operator()(index_t r) const {
    const auto best = best_after(x + r * width, width, Best<T>{T(0), -1, 0});
    if (Warp::rank() == 0) index[r] = best.column < 0 ? 0 : best.column;
  }
};
template <class T>
struct MarkErrors {
  const T* x;
  index_t width;
  const std::int32_t* labels;
  T* wrong;
  __device__ void operator()(index_t r) const {
    const auto best = best_after(x + r * width, width, Best<T>{T(0), -1, 0});
    if (Warp::rank() == 0) wrong[r] = best.column == labels[r] ? T(0) : T(1);
  }
};
/// An unsigned number that is larger where the value is; both zeros have one.
template <class T>
__device__ inline auto order_of(T x) {
  using Word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr Word sign = Word{1} << (8 * sizeof(T) - 1);
  Word word;
  x = x == T(0) ? T(0) : x;
  memcpy(&word, &x, sizeof word);
  return word & sign ? ~word : word | sign;
}

/// The k-th largest: by k searches, or, where that is fewer sweeps over the row, digit by digit of `order_of`, eight bits a
/// sweep: a histogram of those that agree in the digits before, in which the k-th is found from above.
template <class T>
struct SelectTop {
  const T* x;
  index_t width, top;
  T* out;
  __device__ void operator()(index_t r) const {
    const T* row = x + r * width;
    const Best<T> best = top > static_cast<index_t>(sizeof(T)) && top <= width ? by_digits(row) : by_searches(row);
    T least = row[0];
    for (index_t c = Warp::rank(); c < width; c += warp_size) least = row[c] < least ? row[c] : least;
    least = Warp::reduce(least, [](T a, T b) { return b < a ? b : a; });
    if (Warp::rank() == 0) {
      out[3 * r] = best.value;
      out[3 * r + 1] = static_cast<T>(best.column);
      out[3 * r + 2] = least;
    }
  }

 private:
  __device__ Best<T> by_searches(const T* row) const {
    Best<T> best{T(0), -1, 0};
    for (index_t k = 0; k < top; ++k) best = best_after(row, width, best);
    return best;
  }
  __device__ Best<T> by_digits(const T* row) const {
    constexpr int bins = 256, mine = bins / warp_size;
    __shared__ int rooms[rows_per_block][bins];
    int* const count = rooms[threadIdx.y];
    const int lane = Warp::rank();
    decltype(order_of(T())) found = 0;
    int rest = static_cast<int>(top);  // among those that agree in the digits found so far
    for (int shift = 8 * (static_cast<int>(sizeof(T)) - 1); shift >= 0; shift -= 8) {
      for (int k = 0; k < mine; ++k) count[lane * mine + k] = 0;
      __syncwarp();
      for (index_t c = lane; c < width; c += warp_size) {
        const auto difference = (order_of(row[c]) ^ found) >> shift;
        if (difference < bins) atomicAdd(&count[order_of(row[c]) >> shift & (bins - 1)], 1);
      }
      __syncwarp();
      int here = 0;  // lane 0 has the bins of the largest
      for (int k = 0; k < mine; ++k) here += count[bins - 1 - (lane * mine + k)];
      int owner = 0;
      for (int in = __shfl_sync(all_lanes, here, 0); rest > in; in = __shfl_sync(all_lanes, here, ++owner)) rest -= in;
      int bin = bins - 1 - owner * mine;
      while (rest > count[bin]) rest -= count[bin--];
      found |= static_cast<decltype(found)>(bin) << shift;
      __syncwarp();  // the counts may still be read by slower lanes
    }
    // Of equal ones the lower column: the rest-th, found 32 columns at a time.
    for (index_t base = 0; base < width; base += warp_size) {
      const bool equal = base + lane < width && order_of(row[base + lane]) == found;
      const int in = Warp::sum(equal ? 1 : 0);
      if (rest > in) {
        rest -= in;
        continue;
      }
      for (int l = 0; l < warp_size; ++l)
        if (__shfl_sync(all_lanes, equal ? 1 : 0, l) && --rest == 0) return {row[base + l], static_cast<std::int32_t>(base + l), 0};
    }
    return {T(0), -1, 0};  // not reached: the counts of all bins add up to the width
  }
};
template <class T>
struct PickColumns {
  const T* x;
  const std::int32_t* index;
  index_t width;
  T* y;
  __device__ void operator()(index_t r) const {
    const index_t c = index[r];
    y[r] = c >= 0 && c < width ? x[r * width + c] : T(NAN);
  }
};
template <class T>
struct PickColumnsBackward {
  const T* dy;
  const std::int32_t* index;
  index_t width;
  T* dx;
  bool add;
  __device__ void operator()(index_t i) const {
    const T d = index[i / width] == i % width ? dy[i / width] : T(0);
    dx[i] = add ? dx[i] + d : d;
  }
};

}  // namespace rowwise

struct RowWise {
  template <class T>
  static void softmax_forward(Cuda& cuda, std::type_identity_t<View<const T, 2>> x, View<T, 2> y) { forward(cuda, x, y, false); }
  template <class T>
  static void log_softmax_forward(Cuda& cuda, std::type_identity_t<View<const T, 2>> x, View<T, 2> y) { forward(cuda, x, y, true); }
  template <class T>
  static void softmax_backward(Cuda& cuda, std::type_identity_t<View<const T, 2>> y, std::type_identity_t<View<const T, 2>> dy, View<T, 2> dx,
                               Write write) {
    backward(cuda, y, dy, dx, write, false);
  }
  template <class T>
  static void log_softmax_backward(Cuda& cuda, std::type_identity_t<View<const T, 2>> y, std::type_identity_t<View<const T, 2>> dy,
                                   View<T, 2> dx, Write write) {
    backward(cuda, y, dy, dx, write, true);
  }
  template <class T>
  static void arg_max_rows(Cuda& cuda, View<const T, 2> x, std::int32_t* index) {
    rowwise::each_row(cuda, "arg_max_rows", x.shape[0], rowwise::ArgMax<T>{x.data, x.shape[1], index});
  }
  /// Waits for the device.
  template <class T>
  static index_t mark_errors(Cuda& cuda, std::type_identity_t<View<const T, 2>> logits, View<const std::int32_t, 1> labels, View<T, 2> wrong) {
    rowwise::each_row(cuda, "mark_errors", logits.shape[0], rowwise::MarkErrors<T>{logits.data, logits.shape[1], labels.data, wrong.data});
    return static_cast<index_t>(Elementwise::sum_of_squares(cuda, View<const T, 1>(wrong.flat())) + 0.5);
  }
  template <class T>
  static void select_top(Cuda& cuda, std::type_identity_t<View<const T, 2>> x, index_t top, View<T, 2> out) {
    require<shape_error>(out.shape == Shape<2>{x.shape[0], 3}, "select_top: expected an output of shape ", Shape<2>{x.shape[0], 3}, ", got ", out.shape);
    rowwise::each_row(cuda, "select_top", x.shape[0], rowwise::SelectTop<T>{x.data, x.shape[1], top, out.data});
  }
  template <class T>
  static void pick_columns(Cuda& cuda, std::type_identity_t<View<const T, 2>> x, View<const std::int32_t, 1> index, View<T, 2> y) {
    map(cuda, "pick_columns", y.shape[0], rowwise::PickColumns<T>{x.data, index.data, x.shape[1], y.data});
  }
  template <class T>
  static void pick_columns_backward(Cuda& cuda, std::type_identity_t<View<const T, 2>> dy, View<const std::int32_t, 1> index, View<T, 2> dx,
                                    Write write) {
    map(cuda, "pick_columns_backward", dx.size(), rowwise::PickColumnsBackward<T>{dy.data, index.data, dx.shape[1], dx.data, write == Write::add});
  }

 private:
  template <class T>
  static void forward(Cuda& cuda, View<const T, 2> x, View<T, 2> y, bool log) {
    rowwise::each_row(cuda, "softmax", x.shape[0], rowwise::SoftmaxForward<T>{x.data, y.data, x.shape[1], log});
  }
  template <class T>
  static void backward(Cuda& cuda, View<const T, 2> y, View<const T, 2> dy, View<T, 2> dx, Write write, bool log) {
    rowwise::each_row(cuda, "softmax_backward", y.shape[0], rowwise::SoftmaxBackward<T>{y.data, dy.data, dx.data, y.shape[1], log, write == Write::add});
  }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace retort::cuda
