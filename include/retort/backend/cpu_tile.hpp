#pragma once
// The one register-tile kernel behind matrix products and convolutions: a small block of the result stays in vector
// registers while the products that make it up stream past. The tile sizes of each instruction set are here.

#include <array>
#include <retort/backend/cpu_common.hpp>
#include <utility>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// How the left operand of a tile lies in memory: its k-th column holds neighbouring rows (a transposed matrix, the
/// images of a weight gradient), or its rows are `a_stride` apart and k runs along memory.
enum class Rows { contiguous, strided };

/// What a tile sums and where it goes: c[i][j] (+)= the sum over images, runs and k of a[i][k] * b[k][j]. A matrix product
/// is one run; a convolution has a run per kernel row, its weight gradient one per image row.
template <class T>
struct TileJob {
  index_t images = 1, runs = 1, length = 0;         ///< the sum is `images` x `runs` stretches of `length` products
  index_t a_image = 0, a_run = 0, a_stride = 0;     ///< a_stride: row to row (Rows::strided) or k to k (contiguous)
  index_t b_image = 0, b_run = 0, b_stride = 0;     ///< b_stride: k to k
  index_t b_tap = 0;                                ///< from tap to tap, see `tile`
  index_t c_stride = 0;                             ///< row to row
  const T* bias = nullptr;                          ///< added per column when not null
  bool add = false;                                 ///< to what c holds
  bool relu = false;
};

/// Rows of the largest tile of `vectors` vectors, chosen so that accumulators, the vectors of b and one broadcast value
/// fill the registers. With one vector per row every product needs its own load, so more rows share each load of b.
template <int Vectors>
inline constexpr int max_tile_rows = RETORT_VECTOR_REGISTERS == 32 ? (Vectors == 1 ? 16 : 12)
                                                                   : (Vectors == 1 ? 8 : Vectors == 2 ? 6 : 4);

/// Vectors per row of a full tile, and the columns they hold: the width of packed panels.
inline constexpr int tile_vectors = 2;
template <class T>
inline constexpr index_t panel_width = tile_vectors * simd::native_lanes<T>;
/// Whether tiles of strided rows may have one vector more, see `panel_columns`.
inline constexpr bool has_wide_tiles = RETORT_VECTOR_BYTES == 32;

/// Stores a tile, whose sums lie in `full` in rows of `vectors` whole vectors, with all that its job adds to them. One function
/// for tiles of every shape: unrolled in each instance this took a tenth of the compile time of a program with one method, and
/// the way through memory is lost in the noise of the products' own time (benchmarks/results/ops.md).
template <class T>
void finish_tile(const TileJob<T>& job, const T* full, int rows, int vectors, T* c, int columns) {
  using P = simd::Native<T>;
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; j += P::lanes) {
      const int count = std::min(columns - j, P::lanes);
      T* at = c + i * job.c_stride + j;
      P r = P::load(full + i * vectors * P::lanes + j);
      if (count == P::lanes) {
        if (job.bias) r += P::load(job.bias + j);
        if (job.add) r += P::load(at);
        if (job.relu) r = max(P(T{0}), r);
        r.store(at);
      } else {
        if (job.bias) r += P::load_partial(job.bias + j, count);
        if (job.add) r += P::load_partial(at, count);
        if (job.relu) r = max(P(T{0}), r);
        r.store_partial(at, count);
      }
    }
}

/// One tile of M rows and V vectors, of which `columns` columns are stored. With several `Taps`, b has that many
/// operands and tap t meets row i + t of a: c[i][j] sums a[i + t][k] * b[t][k][j]. Neighbouring pixels of a convolution
/// thus share the broadcast of a value; it is what keeps tiles of one vector from waiting for loads.
template <Rows A, int M, int V, int Taps, class T>
void tile(const TileJob<T>& job, const T* a, const T* b, T* c, int columns) {
  using P = simd::Native<T>;
  constexpr int rows = M + Taps - 1;  // of a
  P acc[M][V];
  if constexpr (A == Rows::strided)
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)  // claims the lines of the result while the products are summed
#pragma GCC unroll 3
      for (int v = 0; v < V; ++v) __builtin_prefetch(c + i * job.c_stride + v * P::lanes, 1);
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < V; ++v) acc[i][v] = P(T{0});

  const index_t as = job.a_stride, bs = job.b_stride, bt = job.b_tap, length = job.length;
  for (index_t image = 0; image < job.images; ++image, a += job.a_image, b += job.b_image) {
    const T* a_run = a;
    const T* b_run = b;
    for (index_t run = 0; run < job.runs; ++run, a_run += job.a_run, b_run += job.b_run) {
      const T* ap[A == Rows::contiguous ? 1 : (rows + 2) / 3];
      if constexpr (A == Rows::contiguous) {
        ap[0] = a_run;
      } else {  // three rows share a pointer: the addressing modes reach 0, 1 and 2 strides
#pragma GCC unroll 18
        for (int i = 0; i < rows; i += 3) ap[i / 3] = a_run + i * as;
      }
      const T* bp = b_run;
      for (index_t k = 0; k < length; ++k, bp += bs) {
        P bv[Taps][V];
#pragma GCC unroll 3
        for (int t = 0; t < Taps; ++t)
#pragma GCC unroll 3
          for (int v = 0; v < V; ++v) {
            bv[t][v] = P::load(bp + t * bt + v * P::lanes);
            if constexpr (V > tile_vectors) simd::keep(bv[t][v]);
          }
#pragma GCC unroll 18
        for (int i = 0; i < rows; ++i) {
          const P s(A == Rows::contiguous ? ap[0][i] : ap[i / 3][(i % 3) * as + k]);
#pragma GCC unroll 3
          for (int t = 0; t < Taps; ++t)
            if (i - t >= 0 && i - t < M)
#pragma GCC unroll 3
              for (int v = 0; v < V; ++v) acc[i - t][v] = fma(s, bv[t][v], acc[i - t][v]);
        }
        if constexpr (A == Rows::contiguous) ap[0] += as;
      }
    }
  }

  if (columns < V * P::lanes || job.bias || job.add || job.relu) {  // nothing of it may cost the loop above its registers
    alignas(64) T full[M][V * P::lanes];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 3
      for (int v = 0; v < V; ++v) acc[i][v].store(&full[i][v * P::lanes]);
    return finish_tile(job, &full[0][0], M, V, c, columns);
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 3
    for (int v = 0; v < V; ++v) acc[i][v].store(c + i * job.c_stride + v * P::lanes);
}

/// Instances of `tile` by height.
template <class T>
using TileKernel = void (*)(const TileJob<T>&, const T*, const T*, T*, int);
template <Rows A, int V, int Taps, class T, int... M>
constexpr std::array<TileKernel<T>, sizeof...(M)> tile_instances(std::integer_sequence<int, M...>) {
  return {&tile<A, M + 1, V, Taps, T>...};
}
template <Rows A, int V, int Taps, class T>
inline constexpr auto tiles_by_rows =
    tile_instances<A, V, Taps, T>(std::make_integer_sequence<int, max_tile_rows<V>>{});

/// Vectors that hold `columns` columns.
template <class T>
constexpr int vectors_of(index_t columns) {
  return static_cast<int>((columns + simd::native_lanes<T> - 1) / simd::native_lanes<T>);
}

/// Runs the tile instance of `rows` rows, at most max_tile_rows, and as many vectors as `columns` needs.
template <Rows A, class T>
void run_tile(int rows, int columns, const TileJob<T>& job, const T* a, const T* b, T* c) {
  const auto at = static_cast<std::size_t>(rows - 1);
  const int vectors = vectors_of<T>(columns);
  if constexpr (A == Rows::strided && has_wide_tiles)
    if (vectors > tile_vectors) return tiles_by_rows<A, tile_vectors + 1, 1, T>[at](job, a, b, c, columns);
  (vectors == 1 ? tiles_by_rows<A, 1, 1, T>[at] : tiles_by_rows<A, tile_vectors, 1, T>[at])(job, a, b, c, columns);
}

/// The tile of one vector whose rows share three taps.
template <class T>
void run_shared_tile(int rows, int columns, const TileJob<T>& job, const T* a, const T* b, T* c) {
  tiles_by_rows<Rows::strided, 1, 3, T>[static_cast<std::size_t>(rows - 1)](job, a, b, c, columns);
}

/// Number of tiles to cut `rows` rows of one panel into, so that none is above the maximum; they are to be near-equal.
template <class T>
constexpr index_t tile_count(index_t rows, index_t columns) {
  const int vectors = vectors_of<T>(columns);
  const index_t most = vectors == 1 ? max_tile_rows<1> : vectors == 2 ? max_tile_rows<2> : max_tile_rows<3>;
  return (rows + most - 1) / most;
}

/// Columns of the next panel of `left`, for tiles cut from `rows` strided rows. With 16 registers, rows of eight would make
/// tiles of 4 x 2 vectors, whose eight sums wait for each other; 4 x 3 keeps twelve under way. Three are taken where they
/// give a tile more sums and leave no single vector over.
template <class T>
constexpr index_t panel_columns(index_t left, index_t rows) {
  constexpr index_t wide = panel_width<T> + simd::native_lanes<T>;
  const int vectors = vectors_of<T>(left);
  const bool more = 3 * tile_count<T>(rows, panel_width<T>) > 2 * tile_count<T>(rows, wide);
  return std::min(left, has_wide_tiles && more && vectors >= 3 && vectors != 4 ? wide : panel_width<T>);
}

/// Stride of a packed panel that holds `columns` columns: whole vectors.
template <class T>
constexpr index_t packed_stride(index_t columns) {
  return vectors_of<T>(columns) * simd::native_lanes<T>;
}

/// Rows of `a` and `b` taken alternately, from the lower or the upper half of the lanes.
template <int Half, class P, int... I>
RETORT_INLINE P interleave(P a, P b, std::integer_sequence<int, I...>) {
  return P(__builtin_shufflevector(a.v, b.v, (I / 2 + I % 2 * P::lanes + Half * P::lanes / 2)...));
}

/// Transposes a square of vectors: log2(lanes) perfect shuffles of its rows.
template <class P>
RETORT_INLINE void transpose(P (&rows)[P::lanes]) {
  constexpr std::make_integer_sequence<int, P::lanes> lanes{};
#pragma GCC unroll 4
  for (int step = 1; step < P::lanes; step *= 2) {
    P next[P::lanes];
#pragma GCC unroll 16
    for (int i = 0; i < P::lanes / 2; ++i) {
      next[2 * i] = interleave<0>(rows[i], rows[i + P::lanes / 2], lanes);
      next[2 * i + 1] = interleave<1>(rows[i], rows[i + P::lanes / 2], lanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < P::lanes; ++i) rows[i] = next[i];
  }
}

/// Copies `length` x `columns` elements into a panel of rows `packed_stride(columns)` long, padded with zeros.
/// Element (k, j) of the source is at k * k_stride + j * j_stride, and one of the strides is 1.
template <class T>
void pack_panel(T* panel, const T* source, index_t k_stride, index_t j_stride, index_t length, index_t columns) {
  using P = simd::Native<T>;
  const index_t stride = packed_stride<T>(columns);
  for (index_t j = 0; j < stride; j += P::lanes) {
    const int width = static_cast<int>(std::clamp<index_t>(columns - j, 0, P::lanes));
    if (j_stride == 1) {
      const T* from = source + j;
      T* to = panel + j;
      if (width == P::lanes)
        for (index_t k = 0; k < length; ++k) P::load(from + k * k_stride).store(to + k * stride);
      else
        for (index_t k = 0; k < length; ++k) P::load_partial(from + k * k_stride, width).store(to + k * stride);
    } else {
      for (index_t k = 0; k < length; k += P::lanes) {
        const int depth = static_cast<int>(std::min<index_t>(length - k, P::lanes));
        P block[P::lanes];
        if (depth == P::lanes && width == P::lanes) {
#pragma GCC unroll 16
          for (int i = 0; i < P::lanes; ++i) block[i] = P::load(source + (j + i) * j_stride + k);
        } else {
          for (int i = 0; i < P::lanes; ++i)
            block[i] = i < width ? P::load_partial(source + (j + i) * j_stride + k, depth) : P(T{0});
        }
        transpose(block);
        for (int i = 0; i < depth; ++i) block[i].store(panel + (k + i) * stride + j);
      }
    }
  }
}

}  // namespace RETORT_ISA
}  // namespace retort::cpu
