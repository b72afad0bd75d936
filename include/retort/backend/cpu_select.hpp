#pragma once
// Choices within rows: the largest entries, one column per row, which rows a classifier gets wrong.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <retort/backend/cpu_common.hpp>
#include <retort/backend/simd.hpp>
#include <utility>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// Rows are independent; of equal entries the lower column comes first.
struct Selection {
  /// index[r] = column of the largest entry of row r.
  template <class T>
  static void arg_max_rows(Cpu& cpu, View<const T, 2> x, std::int32_t* index) {
    cpu.parallel(x.extent(0), grain, [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r)
        index[r] = static_cast<std::int32_t>(std::max_element(x.row(r), x.row(r) + x.extent(1)) - x.row(r));
    });
  }

  /// wrong(r, 0) = 1 where the largest logit is not the label's, else 0. Returns how many.
  template <class T>
  static index_t mark_errors(Cpu& cpu, In<T, 2> logits, View<const std::int32_t, 1> labels, View<T, 2> wrong) {
    cpu.parallel(wrong.extent(0), grain, [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r)
        wrong.data[r] = std::max_element(logits.row(r), logits.row(r) + logits.extent(1)) - logits.row(r) == labels.data[r] ? T(0) : T(1);
    });
    return static_cast<index_t>(std::count(wrong.begin(), wrong.end(), T(1)));
  }

  /// Per row of x, what tells its `top` largest entries: out = {the smallest of these, its column, the row's minimum}.
  /// An entry belongs to them if it is larger than out[0], or equal to it in a column <= out[1]: always exactly `top`.
  template <class T>
  static void select_top(Cpu& cpu, In<T, 2> x, index_t top, View<T, 2> out) {
    check_shape("select_top", out.shape, Shape<2>{x.extent(0), 3});
    const index_t columns = x.extent(1);
    cpu.parallel(x.extent(0), grain, [=, &cpu](index_t begin, index_t end, int worker) {
      const ArenaScope scope(cpu.scratch(worker));
      T* kept = cpu.scratch(worker).template allocate<T>(columns + 1);
      for (index_t r = begin; r < end; ++r) top_of_row(x.row(r), columns, top, kept, out.row(r));
    });
  }

  /// y(r, k) = x(r, index[k]).
  template <class T>
  static void gather_columns(Cpu& cpu, In<T, 2> x, View<const std::int32_t, 1> index, View<T, 2> y) {
    cpu.parallel(y.extent(0), grain, [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r)
        for (index_t k = 0; k < y.extent(1); ++k) y.row(r)[k] = x.row(r)[index.data[k]];
    });
  }
  /// dx = (dx +) the gradient of gather_columns.
  template <class T>
  static void gather_columns_backward(Cpu& cpu, In<T, 2> dy, View<const std::int32_t, 1> index, View<T, 2> dx, Write write) {
    if (write == Write::replace) std::fill(dx.begin(), dx.end(), T(0));
    cpu.parallel(dy.extent(0), grain, [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r)
        for (index_t k = 0; k < index.size(); ++k) dx.row(r)[index.data[k]] += dy.row(r)[k];
    });
  }

  /// y(r, 0) = x(r, index[r]).
  template <class T>
  static void pick_columns(Cpu&, In<T, 2> x, View<const std::int32_t, 1> index, View<T, 2> y) {
    for (index_t r = 0; r < y.extent(0); ++r) y.data[r] = x.row(r)[index.data[r]];
  }
  /// dx = (dx +) the gradient of pick_columns.
  template <class T>
  static void pick_columns_backward(Cpu&, In<T, 2> dy, View<const std::int32_t, 1> index, View<T, 2> dx, Write write) {
    if (write == Write::replace) std::fill(dx.begin(), dx.end(), T(0));
    for (index_t r = 0; r < dy.extent(0); ++r) dx.row(r)[index.data[r]] += dy.data[r];
  }

 private:
  static constexpr index_t grain = 256;

  /// Halves the range of values until few entries are left in the half that holds the top-th largest, then orders these.
  template <class T>
  static void top_of_row(const T* row, index_t columns, index_t top, T* kept, T* out) {
    const auto [least, greatest] = range(row, columns);
    // at_least(low) >= top, and nothing at or above `high` decides.
    T low = least, high = std::numeric_limits<T>::infinity(), middle = least / 2 + greatest / 2;
    index_t inside = columns, above = 0;
    for (int halvings = 0; halvings < 24 && inside > 16 + columns / 64 && middle > low && middle < high; ++halvings) {
      const index_t count = at_least(row, columns, middle);
      if (count >= top) {
        inside = count - above;
        low = middle;
      } else {
        inside -= count - above;
        above = count;
        high = middle;
      }
      middle = low / 2 + std::min(high, greatest) / 2;
    }
    const index_t count = collect(row, columns, low, high, kept), need = top - above;
    T bar = least;
    index_t column = columns - 1;  // where NaNs leave too few: everything
    if (count >= need) {
      std::nth_element(kept, kept + need - 1, kept + count, [](T a, T b) { return a > b; });
      bar = kept[need - 1];
      const index_t equal = need - static_cast<index_t>(std::count_if(kept, kept + need, [bar](T v) { return v > bar; }));
      column = find_equal(row, columns, bar, equal);  // the last entry at the bar that still belongs to them
    }
    out[0] = bar;
    out[1] = static_cast<T>(column);
    out[2] = least;
  }

  template <class T>
  static std::pair<T, T> range(const T* row, index_t columns) {
    using P = simd::Native<T>;
    constexpr int lanes = P::lanes;
    P low(row[0]), high(row[0]), low2 = low, high2 = high;
    index_t c = 0;
    for (; c + 2 * lanes <= columns; c += 2 * lanes) {
      const P a = P::load(row + c), b = P::load(row + c + lanes);
      low = min(a, low), low2 = min(b, low2);
      high = max(a, high), high2 = max(b, high2);
    }
    T least = -max(-low, -low2).maximum(), greatest = max(high, high2).maximum();
    for (; c < columns; ++c) least = std::min(least, row[c]), greatest = std::max(greatest, row[c]);
    return {least, greatest};
  }
  template <class T>
  static index_t at_least(const T* row, index_t columns, T bar) {
    using P = simd::Native<T>;
    constexpr int lanes = P::lanes;
    typename P::mask_type a{}, b{};
    index_t c = 0;
    for (; c + 2 * lanes <= columns; c += 2 * lanes) {
      a -= P::load(row + c) >= P(bar);
      b -= P::load(row + c + lanes) >= P(bar);
    }
    a += b;
    index_t count = 0;
    for (int l = 0; l < lanes; ++l) count += a[l];
    for (; c < columns; ++c) count += row[c] >= bar;
    return count;
  }
  /// Copies the entries in [low, high) to `kept`, which has room for one more. Returns their number.
  template <class T>
  static index_t collect(const T* row, index_t columns, T low, T high, T* kept) {
    index_t count = 0;
    in_blocks(row, columns, [&](auto x) { return (x >= decltype(x)(low)) & (x < decltype(x)(high)); },
              [&](index_t c) {
                kept[count] = row[c];
                count += row[c] >= low && row[c] < high;
                return true;
              });
    return count;
  }
  /// Column of the nth entry equal to `bar`, or the last one.
  template <class T>
  static index_t find_equal(const T* row, index_t columns, T bar, index_t nth) {
    index_t column = columns - 1;
    in_blocks(row, columns, [&](auto x) { return x == decltype(x)(bar); },
              [&](index_t c) {
                nth -= row[c] == bar;
                if (nth == 0) column = c;
                return nth > 0;
              });
    return column;
  }
  /// f(column) for the columns of vectors in which `test` says yes to a lane, in order, until it returns false.
  template <class T, class Test, class F>
  static void in_blocks(const T* row, index_t columns, Test&& test, F&& f) {
    using P = simd::Native<T>;
    index_t c = 0;
    for (; c + P::lanes <= columns; c += P::lanes) {
      if (!simd::any(test(P::load(row + c)))) continue;
      for (index_t l = 0; l < P::lanes; ++l)
        if (!f(c + l)) return;
    }
    for (; c < columns; ++c)
      if (!f(c)) return;
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
