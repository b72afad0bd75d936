#pragma once
// Kernels over the entries of a sparse pattern and over segments of rows. A warp owns a row: its lanes split the columns, and
// where there are fewer columns than lanes, teams of lanes split the entries and meet in a fixed order. No two warps add to
// the same place (backward passes go by the transposed pattern): the same bits on every run.
//
// Patterns, weights and segments lie in device memory.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <cstdint>
#include <retort/cuda/rows.cuh>

namespace retort::cuda {
inline namespace RETORT_CUDA_ABI {

namespace sparse {

using Warp = rowwise::Warp;

/// V neighbouring numbers, moved at once.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T v[V];
  static RETORT_HD Pack load(const T* from) { return *reinterpret_cast<const Pack*>(from); }
  RETORT_HD void store(T* to) const { *reinterpret_cast<Pack*>(to) = *this; }
  /// += w x.
  RETORT_HD void add(T w, const Pack& x) {
    for (int k = 0; k < V; ++k) v[k] += w * x.v[k];
  }
  friend RETORT_HD Pack operator+(Pack a, const Pack& b) {
    a.add(T(1), b);
    return a;
  }
};
/// Numbers in 16 bytes.
template <class T>
inline constexpr int widest = 16 / sizeof(T);

/// Whether rows of `width` numbers, of which heads of `per` numbers are a part, come in whole aligned packs.
template <class T>
inline bool in_packs(index_t width, index_t per, const T* a, const T* b) {
  const auto aligned = [](const T* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; };
  return width % widest<T> == 0 && per % widest<T> == 0 && aligned(a) && aligned(b);
}

/// How the lanes of a warp split a row: `lanes` of them, a power of two, stand side by side over the columns and make a team.
struct Teams {
  int lanes;
  explicit Teams(index_t columns) : lanes(1) {
    while (lanes < columns && lanes < warp_size) lanes *= 2;
  }
  __device__ int count() const { return warp_size / lanes; }
  __device__ int team() const { return Warp::rank() / lanes; }
  __device__ int place() const { return Warp::rank() % lanes; }
  /// Over the lanes at the same place of all teams, lower team first. The whole warp calls.
  template <class V, class Merge>
  __device__ V across(V v, const Merge& merge) const { return merged(v, lanes, warp_size, merge); }
  /// Over the lanes of each team.
  template <class V>
  __device__ V sum_within(V v) const {
    return merged(v, 1, lanes, [](V a, V b) { return a + b; });
  }

 private:
  template <class V, class Merge>
  static __device__ V merged(V v, int first, int end, const Merge& merge) {
    for (int distance = first; distance < end; distance *= 2) {
      const V other = from_lane_xor(v, distance);
      v = Warp::rank() & distance ? merge(other, v) : merge(v, other);
    }
    return v;
  }
};

/// The weight of an entry for a head: one, w[e], or w[at[e]].
template <class T>
struct Weights {
  const T* weight;
  const std::int32_t* at;
  index_t heads;
  RETORT_HD T operator()(index_t e, index_t head) const {
    return weight ? weight[(at ? index_t{at[e]} : e) * heads + head] : T(1);
  }
};

/// y_r = (y_r +) sum of w_e x_col[e], without `col` of w_e x_e; `mean` divides by the number of entries where there are any.
template <class T, int V>
struct Spmm {
  Teams teams;
  const std::int32_t *ptr, *col;
  Weights<T> weight;
  index_t width, per;
  const T* x;
  T* y;
  bool mean, add;
  __device__ void operator()(index_t r) const {
    const index_t first = ptr[r], last = ptr[r + 1];
    for (index_t from = 0; from < width; from += index_t{teams.lanes} * V) {
      const index_t c = from + index_t{teams.place()} * V;
      Pack<T, V> sum{};
      if (c < width)
        for (index_t e = first + teams.team(); e < last; e += teams.count())
          sum.add(weight(e, c / per), Pack<T, V>::load(x + (col ? index_t{col[e]} : e) * width + c));
      sum = teams.across(sum, [](const Pack<T, V>& a, const Pack<T, V>& b) { return a + b; });
      if (teams.team() != 0 || c >= width) continue;
      if (mean && last > first)
        for (int k = 0; k < V; ++k) sum.v[k] /= static_cast<T>(last - first);
      T* to = y + r * width + c;
      (add ? Pack<T, V>::load(to) + sum : sum).store(to);
    }
  }
};

/// out = (out +) a_r . b_col[e] for each entry, of which a team has one at a time, and head.
template <class T, int V>
struct Sddmm {
  Teams teams;
  const std::int32_t *ptr, *col;
  index_t heads, per;
  const T *a, *b;
  T* out;
  bool add;
  __device__ void operator()(index_t r) const {
    const index_t last = ptr[r + 1], width = heads * per;
    for (index_t from = ptr[r]; from < last; from += teams.count()) {
      const index_t e = from + teams.team();
      for (index_t h = 0; h < heads; ++h) {
        T sum(0);
        if (e < last) {
          const T *left = a + r * width + h * per, *right = b + col[e] * width + h * per;
          for (index_t c = index_t{teams.place()} * V; c < per; c += index_t{teams.lanes} * V) {
            const auto p = Pack<T, V>::load(left + c), q = Pack<T, V>::load(right + c);
            for (int k = 0; k < V; ++k) sum += p.v[k] * q.v[k];
          }
        }
        sum = teams.sum_within(sum);
        if (e < last && teams.place() == 0) out[e * heads + h] = add ? out[e * heads + h] + sum : sum;
      }
    }
  }
};

template <class T>
struct EntrySums {
  Teams teams;
  const std::int32_t *ptr, *col;
  index_t heads;
  const T *source, *target;
  T* out;
  __device__ void operator()(index_t r) const {
    for (index_t e = ptr[r] + teams.team(); e < ptr[r + 1]; e += teams.count())
      for (index_t h = teams.place(); h < heads; h += teams.lanes) out[e * heads + h] = source[col[e] * heads + h] + (target ? target[r * heads + h] : T(0));
  }
};

template <class T>
struct SegmentSoftmax {
  Teams teams;
  const std::int32_t* ptr;
  index_t heads;
  const T* x;
  T* w;
  __device__ void operator()(index_t r) const {
    const index_t first = ptr[r] + teams.team(), last = ptr[r + 1];
    for (index_t from = 0; from < heads; from += teams.lanes) {
      const index_t h = from + teams.place();
      T top = h < heads && ptr[r] < last ? x[ptr[r] * heads + h] : T(0), total(0);
      if (h < heads)
        for (index_t e = first; e < last; e += teams.count()) top = x[e * heads + h] > top ? x[e * heads + h] : top;
      top = teams.across(top, [](T a, T b) { return b > a ? b : a; });
      if (h < heads)
        for (index_t e = first; e < last; e += teams.count()) total += w[e * heads + h] = std::exp(x[e * heads + h] - top);
      total = teams.across(total, [](T a, T b) { return a + b; });
      if (h < heads)
        for (index_t e = first; e < last; e += teams.count()) w[e * heads + h] /= total;
    }
  }
};
template <class T>
struct SegmentSoftmaxBackward {
  Teams teams;
  const std::int32_t* ptr;
  index_t heads;
  const T *w, *dw;
  T* dx;
  bool add;
  __device__ void operator()(index_t r) const {
    const index_t first = ptr[r] + teams.team(), last = ptr[r + 1];
    for (index_t from = 0; from < heads; from += teams.lanes) {
      const index_t h = from + teams.place();
      T dot(0);
      if (h < heads)
        for (index_t e = first; e < last; e += teams.count()) dot += w[e * heads + h] * dw[e * heads + h];
      dot = teams.across(dot, [](T a, T b) { return a + b; });
      if (h < heads)
        for (index_t e = first; e < last; e += teams.count()) {
          const T d = w[e * heads + h] * (dw[e * heads + h] - dot);
          dx[e * heads + h] = add ? dx[e * heads + h] + d : d;
        }
    }
  }
};

template <class T>
struct SegmentSumBackward {
  Teams teams;
  const std::int32_t* ptr;
  index_t width;
  bool mean;
  const T* dy;
  T* dx;
  bool add;
  __device__ void operator()(index_t g) const {
    const T scale = mean ? static_cast<T>(ptr[g + 1] - ptr[g]) : T(1);
    for (index_t r = ptr[g] + teams.team(); r < ptr[g + 1]; r += teams.count())
      for (index_t c = teams.place(); c < width; c += teams.lanes) {
        const T d = dy[g * width + c] / scale;
        dx[r * width + c] = add ? dx[r * width + c] + d : d;
      }
  }
};
/// The first of the largest rows, column by column; with `replay` the winners are given.
template <class T>
struct SegmentMax {
  Teams teams;
  const std::int32_t* ptr;
  index_t width;
  bool replay;
  const T* x;
  T* y;
  std::int32_t* winner;
  __device__ void operator()(index_t g) const {
    for (index_t from = 0; from < width; from += teams.lanes) {
      const index_t c = from + teams.place(), at = g * width + c;
      rowwise::Best<T> best{T(0), -1, 0};
      if (c < width && !replay)
        for (index_t r = ptr[g] + teams.team(); r < ptr[g + 1]; r += teams.count())
          best = rowwise::better(best, rowwise::Best<T>{x[r * width + c], static_cast<std::int32_t>(r), 0});
      best = teams.across(best, [](rowwise::Best<T> a, rowwise::Best<T> b) { return rowwise::better(a, b); });
      if (teams.team() != 0 || c >= width) continue;
      if (!replay) winner[at] = best.column;
      y[at] = winner[at] < 0 ? T(0) : x[winner[at] * width + c];
    }
  }
};
/// Segments do not overlap: no two winners meet.
template <class T>
struct SegmentMaxBackward {
  const std::int32_t* winner;
  index_t width;
  const T* dy;
  T* dx;
  __device__ void operator()(index_t i) const {
    if (winner[i] >= 0) dx[winner[i] * width + i % width] += dy[i];
  }
};

// Positions 0 .. count - 1 by the row that they point to, as a pattern: counted by atomic integers, whose order of arrival
// does not matter since the positions of a row are put in order afterwards.
struct CountArrivals {
  const std::int32_t* index;
  index_t rows;
  std::int32_t *number, *arrival;
  __device__ void operator()(index_t k) const {
    if (index[k] >= 0 && index[k] < rows) arrival[k] = atomicAdd(number + index[k], 1);
  }
};
struct PlaceArrivals {
  const std::int32_t *index, *ptr, *arrival;
  index_t rows;
  std::int32_t* list;
  __device__ void operator()(index_t k) const {
    if (index[k] >= 0 && index[k] < rows) list[ptr[index[k]] + arrival[k]] = static_cast<std::int32_t>(k);
  }
};
struct PutInOrder {
  const std::int32_t *index, *ptr, *list;
  index_t rows;
  std::int32_t* order;
  __device__ void operator()(index_t at) const {
    if (at >= ptr[rows]) return;
    const std::int32_t k = list[at], r = index[k];
    std::int32_t before = 0;
    for (std::int32_t i = ptr[r]; i < ptr[r + 1]; ++i) before += list[i] < k;
    order[ptr[r] + before] = k;
  }
};
inline constexpr int scan_threads = 1024;
/// a_i = the sum of what came before a_i, for i in [0, n]; one block.
template <class Int>
__global__ static void __launch_bounds__(scan_threads) scan_kernel(index_t n, Int* a) {
  __shared__ Int room[scan_threads];
  const int t = static_cast<int>(threadIdx.x);
  const index_t first = n * t / scan_threads, last = n * (t + 1) / scan_threads;
  Int sum = 0;
  for (index_t i = first; i < last; ++i) sum += a[i];
  room[t] = sum;
  __syncthreads();
  for (int distance = 1; distance < scan_threads; distance *= 2) {
    const Int before = t >= distance ? room[t - distance] : 0;
    __syncthreads();
    room[t] += before;
    __syncthreads();
  }
  Int running = room[t] - sum;
  for (index_t i = first; i < last; ++i) {
    const Int own = a[i];
    a[i] = running;
    running += own;
  }
  if (t == scan_threads - 1) a[n] = running;
}

}  // namespace sparse

/// The vocabulary of backend/cpu_graph.hpp, which documents each function.
struct GraphKernels {
  template <class T>
  using In2 = std::type_identity_t<View<const T, 2>>;

  template <class T>
  static void spmm(Cuda& cuda, index_t rows, const std::int32_t* ptr, const std::int32_t* col, std::type_identity_t<const T*> weight, const std::int32_t* at,
                   int heads, In2<T> x, View<T, 2> y, Write write) {
    sums<T>(cuda, "spmm", rows, ptr, col, {weight, at, heads}, x, y, false, write);
  }
  template <class T>
  static void sddmm(Cuda& cuda, index_t rows, const std::int32_t* ptr, const std::int32_t* col, int heads, In2<T> a, In2<T> b, View<T, 1> out, Write write) {
    const index_t per = a.shape[1] / heads;
    constexpr int V = sparse::widest<T>;
    if (sparse::in_packs(a.shape[1], per, a.data, b.data))
      products<V>(cuda, rows, ptr, col, heads, per, a, b, out, write);
    else
      products<1>(cuda, rows, ptr, col, heads, per, a, b, out, write);
  }
  template <class T>
  static void entry_sums(Cuda& cuda, index_t rows, const std::int32_t* ptr, const std::int32_t* col, In2<T> source, In2<T> target, View<T, 2> out) {
    rowwise::each_row(cuda, "entry_sums", rows, sparse::EntrySums<T>{sparse::Teams(out.shape[1]), ptr, col, out.shape[1], source.data, target.data, out.data});
  }
  template <class T>
  static void row_sums(Cuda& cuda, index_t rows, const std::int32_t* ptr, const std::int32_t* at, In2<T> entries, View<T, 2> y, Write write) {
    sums<T>(cuda, "row_sums", rows, ptr, at, {nullptr, nullptr, 1}, entries, y, false, write);
  }
  /// dtable_r = (dtable_r +) the sum of the rows of dy that point to r, in their order; linear in their number but for rows that
  /// many point to, whose positions are compared in pairs. Rows whose index leaves the table are left out.
  template <class T>
  static void scatter_add_rows(Cuda& cuda, View<const T, 2> dy, View<const std::int32_t, 1> index, View<T, 2> dtable, Write write) {
    const char* what = "scatter_add_rows";
    const index_t count = index.size(), rows = dtable.shape[0];
    const ArenaScope scope(cuda.scratch());
    auto* ptr = cuda.scratch().template allocate<std::int32_t>(rows + 1);
    auto* arrival = cuda.scratch().template allocate<std::int32_t>(count + 1);
    auto* list = cuda.scratch().template allocate<std::int32_t>(count + 1);
    map(cuda, what, rows + 1, elements::Fill<std::int32_t>{0, ptr, false});
    map(cuda, what, count, sparse::CountArrivals{index.data, rows, ptr, arrival});
    launch(cuda, what, &sparse::scan_kernel<std::int32_t>, 1, sparse::scan_threads, rows, ptr);
    map(cuda, what, count, sparse::PlaceArrivals{index.data, ptr, arrival, rows, list});
    map(cuda, what, count, sparse::PutInOrder{index.data, ptr, list, rows, arrival});
    sums<T>(cuda, what, rows, ptr, arrival, {nullptr, nullptr, 1}, dy, dtable, false, write);
  }
  template <class T>
  static void segment_softmax(Cuda& cuda, index_t rows, const std::int32_t* ptr, In2<T> entries, View<T, 2> w) {
    rowwise::each_row(cuda, "segment_softmax", rows, sparse::SegmentSoftmax<T>{sparse::Teams(w.shape[1]), ptr, w.shape[1], entries.data, w.data});
  }
  template <class T>
  static void segment_softmax_backward(Cuda& cuda, index_t rows, const std::int32_t* ptr, In2<T> w, In2<T> dw, View<T, 2> de, Write write) {
    rowwise::each_row(cuda, "segment_softmax_backward", rows,
                      sparse::SegmentSoftmaxBackward<T>{sparse::Teams(w.shape[1]), ptr, w.shape[1], w.data, dw.data, de.data, write == Write::add});
  }
  template <class T>
  static void segment_sum(Cuda& cuda, index_t segments, const std::int32_t* ptr, bool mean, In2<T> x, View<T, 2> y) {
    sums<T>(cuda, "segment_sum", segments, ptr, nullptr, {nullptr, nullptr, 1}, x, y, mean, Write::replace);
  }
  template <class T>
  static void segment_sum_backward(Cuda& cuda, index_t segments, const std::int32_t* ptr, bool mean, In2<T> dy, View<T, 2> dx, Write write) {
    rowwise::each_row(cuda, "segment_sum_backward", segments,
                      sparse::SegmentSumBackward<T>{sparse::Teams(dx.shape[1]), ptr, dx.shape[1], mean, dy.data, dx.data, write == Write::add});
  }
  template <class T>
  static void segment_max(Cuda& cuda, index_t segments, const std::int32_t* ptr, bool replay, In2<T> x, View<T, 2> y, std::int32_t* winner) {
    rowwise::each_row(cuda, "segment_max", segments,
                      sparse::SegmentMax<T>{sparse::Teams(y.shape[1]), ptr, y.shape[1], replay, x.data, y.data, winner});
  }
  template <class T>
  static void segment_max_backward(Cuda& cuda, index_t segments, const std::int32_t* winner, In2<T> dy, View<T, 2> dx, Write write) {
    if (write == Write::replace) map(cuda, "segment_max_backward", dx.size(), elements::Fill<T>{T(0), dx.data, false});
    map(cuda, "segment_max_backward", segments * dy.shape[1], sparse::SegmentMaxBackward<T>{winner, dy.shape[1], dy.data, dx.data});
  }

 private:
  template <class T>
  static void sums(Cuda& cuda, const char* what, index_t rows, const std::int32_t* ptr, const std::int32_t* col, const sparse::Weights<T>& weight,
                   View<const T, 2> x, View<T, 2> y, bool mean, Write write) {
    const index_t width = y.shape[1], per = width / weight.heads;
    constexpr int V = sparse::widest<T>;
    const bool add = write == Write::add;
    if (sparse::in_packs<T>(width, per, x.data, y.data))
      rowwise::each_row(cuda, what, rows, sparse::Spmm<T, V>{sparse::Teams(width / V), ptr, col, weight, width, per, x.data, y.data, mean, add});
    else
      rowwise::each_row(cuda, what, rows, sparse::Spmm<T, 1>{sparse::Teams(width), ptr, col, weight, width, per, x.data, y.data, mean, add});
  }
  template <int V, class T>
  static void products(Cuda& cuda, index_t rows, const std::int32_t* ptr, const std::int32_t* col, index_t heads, index_t per, View<const T, 2> a,
                       View<const T, 2> b, View<T, 1> out, Write write) {
    rowwise::each_row(cuda, "sddmm", rows,
                      sparse::Sddmm<T, V>{sparse::Teams((per + V - 1) / V), ptr, col, heads, per, a.data, b.data, out.data, write == Write::add});
  }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace retort::cuda
