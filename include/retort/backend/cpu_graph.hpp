#pragma once
// Kernels over the entries of a sparse pattern: sums over neighbours, inner products along edges, softmax over what a node
// hears, sums over segments. Threads split rows; every sum runs in the order of the entries.

#include <cmath>
#include <limits>
#include <retort/backend/cpu_common.hpp>
#include <retort/backend/simd_math.hpp>
#include <retort/graph/batch.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// `heads` splits the columns: entry e has a weight for each head, which acts on columns / heads columns.
struct GraphKernels {
  /// y_r = (y_r +) sum_e w_e x_col[e], over the entries of row r. Without `weight` all are one; with `at`, the weight of
  /// entry e is weight[at[e]] (weights in the order of the transposed pattern).
  template <class T>
  static void spmm(Cpu& cpu, index_t rows, const std::int32_t* ptr, const std::int32_t* col, Pointer<const T> weight, const std::int32_t* at, int heads,
                   In<T, 2> x, View<T, 2> y, Write write) {
    const index_t width = y.extent(1), per = width / heads;
    const auto run = [&](auto weigh) {
      cpu.parallel(rows, grain(width), [&](index_t begin, index_t end, int) {
        for (index_t r = begin; r < end; ++r)
          for (int h = 0; h < heads; ++h)
            for (index_t c = 0; c < per;) c += row_block<T>(ptr[r], ptr[r + 1], col, [&](index_t e) { return weigh(e, h); }, x, h * per + c, per - c, y.row(r) + h * per + c, write);
      });
    };
    if (!weight)
      run([](index_t, int) { return T(1); });
    else if (at)
      run([=](index_t e, int h) { return weight[static_cast<index_t>(at[e]) * heads + h]; });
    else
      run([=](index_t e, int h) { return weight[e * heads + h]; });
  }

  /// out_e = (out_e +) a_row(e) . b_col[e], for each head.
  template <class T>
  static void sddmm(Cpu& cpu, index_t rows, const std::int32_t* ptr, const std::int32_t* col, int heads, In<T, 2> a, In<T, 2> b, View<T, 1> out, Write write) {
    const index_t per = a.extent(1) / heads;
    using P = simd::Native<T>;
    cpu.parallel(rows, grain(a.extent(1)), [&](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r)
        for (index_t e = ptr[r]; e < ptr[r + 1]; ++e)
          for (int h = 0; h < heads; ++h) {
            const T *x = a.row(r) + h * per, *y = b.row(col[e]) + h * per;
            P sum(T(0));
            index_t c = 0;
            for (; c + P::lanes <= per; c += P::lanes) sum = fma(P::load(x + c), P::load(y + c), sum);
            if (c < per) sum = fma(P::load_partial(x + c, static_cast<int>(per - c)), P::load_partial(y + c, static_cast<int>(per - c)), sum);
            T& to = out.data[e * heads + h];
            to = write == Write::add ? to + sum.sum() : sum.sum();
          }
    });
  }

  /// out_e = source_col[e] (+ target_row(e)), for each of the columns.
  template <class T>
  static void entry_sums(Cpu& cpu, index_t rows, const std::int32_t* ptr, const std::int32_t* col, In<T, 2> source, In<T, 2> target, View<T, 2> out) {
    const index_t heads = out.extent(1);
    cpu.parallel(rows, grain(heads), [&](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r)
        for (index_t e = ptr[r]; e < ptr[r + 1]; ++e)
          for (index_t h = 0; h < heads; ++h) out.data[e * heads + h] = source(col[e], h) + (target.data ? target(r, h) : T(0));
    });
  }
  /// y_r = (y_r +) the sum of the row's entries; with `at`, of the entries at[e] (the transposed pattern).
  template <class T>
  static void row_sums(Cpu& cpu, index_t rows, const std::int32_t* ptr, const std::int32_t* at, In<T, 2> entries, View<T, 2> y, Write write) {
    const index_t heads = y.extent(1);
    cpu.parallel(rows, grain(heads), [&](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r)
        for (index_t h = 0; h < heads; ++h) {
          T sum = write == Write::add ? y(r, h) : T(0);
          for (index_t e = ptr[r]; e < ptr[r + 1]; ++e) sum += entries((at ? at[e] : e), h);
          y(r, h) = sum;
        }
    });
  }

  /// w = softmax of the entries of each row, for each head; the row's largest entry is subtracted.
  template <class T>
  static void segment_softmax(Cpu& cpu, index_t rows, const std::int32_t* ptr, In<T, 2> entries, View<T, 2> w) {
    const index_t heads = w.extent(1);
    using P = simd::Native<T>;
    cpu.parallel(rows, grain(heads), [&](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r) {
        const index_t first = ptr[r], last = ptr[r + 1];
        if (heads == 1) {
          T top = std::numeric_limits<T>::lowest(), total = 0;
          for (index_t e = first; e < last; ++e) top = std::max(top, entries.data[e]);
          for (index_t e = first; e < last; e += P::lanes) {
            const int n = static_cast<int>(std::min<index_t>(P::lanes, last - e));
            constexpr T log2_e = T(1.44269504088896340736);
            const P x = simd::exp2_nonpositive((P::load_partial(entries.data + e, n, top) - P(top)) * P(log2_e));
            x.store_partial(w.data + e, n);
          }
          for (index_t e = first; e < last; ++e) total += w.data[e];
          const T scale = T(1) / total;
          for (index_t e = first; e < last; ++e) w.data[e] *= scale;
        } else {
          for (index_t h = 0; h < heads; ++h) {
            T top = std::numeric_limits<T>::lowest(), total = 0;
            for (index_t e = first; e < last; ++e) top = std::max(top, entries(e, h));
            for (index_t e = first; e < last; ++e) total += w(e, h) = std::exp(entries(e, h) - top);
            for (index_t e = first; e < last; ++e) w(e, h) /= total;
          }
        }
      }
    });
  }
  /// de_e = (de_e +) w_e (dw_e - sum over the row of w dw).
  template <class T>
  static void segment_softmax_backward(Cpu& cpu, index_t rows, const std::int32_t* ptr, In<T, 2> w, In<T, 2> dw, View<T, 2> de, Write write) {
    const index_t heads = w.extent(1);
    cpu.parallel(rows, grain(heads), [&](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r)
        for (index_t h = 0; h < heads; ++h) {
          T dot = 0;
          for (index_t e = ptr[r]; e < ptr[r + 1]; ++e) dot += w(e, h) * dw(e, h);
          for (index_t e = ptr[r]; e < ptr[r + 1]; ++e) {
            const T d = w(e, h) * (dw(e, h) - dot);
            de(e, h) = write == Write::add ? de(e, h) + d : d;
          }
        }
    });
  }

  /// y_g = (y_g +) scale_g * sum of the rows ptr[g] .. ptr[g + 1]; scale_g = 1, or 1 over their number (0 for none).
  template <class T>
  static void segment_sum(Cpu& cpu, index_t segments, const std::int32_t* ptr, bool mean, In<T, 2> x, View<T, 2> y) {
    cpu.parallel(segments, 1, [&](index_t begin, index_t end, int) {
      for (index_t g = begin; g < end; ++g) {
        T* out = y.row(g);
        std::fill(out, out + y.extent(1), T(0));
        for (index_t r = ptr[g]; r < ptr[g + 1]; ++r) add_to(out, x.row(r), y.extent(1));
        if (mean && ptr[g + 1] > ptr[g])
          for (index_t c = 0; c < y.extent(1); ++c) out[c] /= static_cast<T>(ptr[g + 1] - ptr[g]);
      }
    });
  }
  template <class T>
  static void segment_sum_backward(Cpu& cpu, index_t segments, const std::int32_t* ptr, bool mean, In<T, 2> dy, View<T, 2> dx, Write write) {
    cpu.parallel(segments, 1, [&](index_t begin, index_t end, int) {
      for (index_t g = begin; g < end; ++g)
        for (index_t r = ptr[g]; r < ptr[g + 1]; ++r)
          for (index_t c = 0; c < dx.extent(1); ++c) {
            const T d = mean ? dy(g, c) / static_cast<T>(ptr[g + 1] - ptr[g]) : dy(g, c);
            dx(r, c) = write == Write::add ? dx(r, c) + d : d;
          }
    });
  }
  /// y_g = the largest of the rows, by column; `winner` is its row, the first of equal ones. With `replay` the winners are given.
  /// A segment without rows gives 0 and winner -1.
  template <class T>
  static void segment_max(Cpu&, index_t segments, const std::int32_t* ptr, bool replay, In<T, 2> x, View<T, 2> y, std::int32_t* winner) {
    const index_t width = y.extent(1);
    for (index_t g = 0; g < segments; ++g)
      for (index_t c = 0; c < width; ++c) {
        std::int32_t& best = winner[g * width + c];
        if (!replay) {
          best = ptr[g] < ptr[g + 1] ? ptr[g] : -1;
          for (std::int32_t r = ptr[g] + 1; r < ptr[g + 1]; ++r)
            if (x(r, c) > x(best, c)) best = r;
        }
        y(g, c) = best < 0 ? T(0) : x(best, c);
      }
  }
  template <class T>
  static void segment_max_backward(Cpu&, index_t segments, const std::int32_t* winner, In<T, 2> dy, View<T, 2> dx, Write write) {
    if (write == Write::replace) std::fill(dx.begin(), dx.end(), T(0));
    for (index_t g = 0; g < segments; ++g)
      for (index_t c = 0; c < dy.extent(1); ++c)
        if (winner[g * dy.extent(1) + c] >= 0) dx(winner[g * dy.extent(1) + c], c) += dy(g, c);
  }

 private:
  static index_t grain(index_t width) { return std::max<index_t>(1, (index_t{1} << 13) / (width + 1)); }

  /// Up to four vectors of columns of one row, kept in registers over its entries. Returns the number of columns done.
  template <class T, class W>
  static RETORT_INLINE index_t row_block(index_t first, index_t last, const std::int32_t* col, W weigh, View<const T, 2> x, index_t column, index_t left,
                                         T* out, Write write) {
    constexpr index_t lanes = simd::native_lanes<T>;
    if (left >= 4 * lanes) return vectors<4, T>(first, last, col, weigh, x, column, out, write);
    if (left >= 2 * lanes) return vectors<2, T>(first, last, col, weigh, x, column, out, write);
    if (left >= lanes) return vectors<1, T>(first, last, col, weigh, x, column, out, write);
    if (left <= 2) {  // the two classes of label propagation: no vectors at all
      T sum[2] = {write == Write::add ? out[0] : T(0), write == Write::add && left == 2 ? out[1] : T(0)};
      for (index_t e = first; e < last; ++e) {
        const T w = weigh(e);
        const T* from = x.row(col[e]) + column;
        sum[0] += w * from[0];
        if (left == 2) sum[1] += w * from[1];
      }
      for (index_t k = 0; k < left; ++k) out[k] = sum[k];
      return left;
    }
    using P = simd::Native<T>;
    const int n = static_cast<int>(left);
    P sum(T(0));
    for (index_t e = first; e < last; ++e) sum = fma(P(weigh(e)), P::load_partial(x.row(col[e]) + column, n), sum);
    if (write == Write::add) sum += P::load_partial(out, n);
    sum.store_partial(out, n);
    return left;
  }
  template <int V, class T, class W>
  static RETORT_INLINE index_t vectors(index_t first, index_t last, const std::int32_t* col, W weigh, View<const T, 2> x, index_t column, T* out, Write write) {
    using P = simd::Native<T>;
    P sum[V];
    for (int k = 0; k < V; ++k) sum[k] = write == Write::add ? P::load(out + k * P::lanes) : P(T(0));
    for (index_t e = first; e < last; ++e) {
      const P w(weigh(e));
      const T* from = x.row(col[e]) + column;
#pragma GCC unroll 4
      for (int k = 0; k < V; ++k) sum[k] = fma(w, P::load(from + k * P::lanes), sum[k]);
    }
    for (int k = 0; k < V; ++k) sum[k].store(out + k * P::lanes);
    return V * P::lanes;
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
