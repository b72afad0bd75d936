#pragma once
// Choices within rows: the largest entries, one column per row, which rows a classifier gets wrong.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <retort/backend/cpu_common.hpp>

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
      for (index_t r = begin; r < end; ++r) {
        const T* row = x.row(r);
        // A histogram tells in which of 256 slices the top-th largest lies; only the entries of that slice are ordered.
        const auto [low, high] = std::minmax_element(row, row + columns);
        const T least = *low, range = *high - least;
        const T scale = range > std::numeric_limits<T>::min() * T(4 * slices) && range < std::numeric_limits<T>::max() ? T(slices) / range : T(0);
        const auto slice = [=](T v) {  // no number at all, or a range that is none: slice 0
          const T s = (v - least) * scale;
          return s > T(0) ? (s < T(slices) ? static_cast<int>(s) : slices - 1) : 0;
        };
        index_t counts[slices] = {};
        for (index_t c = 0; c < columns; ++c) ++counts[slice(row[c])];
        int at = slices - 1;
        index_t need = top;  // of the slice `at`
        while (counts[at] < need) need -= counts[at--];
        index_t count = 0;
        for (index_t c = 0; c < columns; ++c) {
          kept[count] = row[c];
          count += slice(row[c]) == at;
        }
        std::nth_element(kept, kept + need - 1, kept + count, std::greater<>());
        const T bar = kept[need - 1];
        const index_t equal = need - static_cast<index_t>(std::count_if(kept, kept + need, [bar](T v) { return v > bar; }));
        index_t column = -1;  // of the last entry at the bar that still belongs to them
        for (index_t ties = equal; ties > 0 && column + 1 < columns;) ties -= row[++column] == bar;
        T* to = out.row(r);
        to[0] = bar;
        to[1] = static_cast<T>(column);
        to[2] = least;
      }
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
  static constexpr int slices = 256;
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
