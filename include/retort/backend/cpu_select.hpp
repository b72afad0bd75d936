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
      const index_t room = std::min(columns, 4 * top + 64);
      T* kept = cpu.scratch(worker).template allocate<T>(room);
      for (index_t r = begin; r < end; ++r) {
        const T* row = x.row(r);
        // What lies below the top-th largest of the entries so far cannot be among the top; the rest is kept and thinned out.
        index_t count = 0;
        T bar = std::numeric_limits<T>::lowest(), least = row[0];
        const auto thin = [&] {
          std::nth_element(kept, kept + top - 1, kept + count, std::greater<>());
          count = top;
          bar = kept[top - 1];
        };
        for (index_t c = 0; c < columns; ++c) {
          least = std::min(least, row[c]);
          if (row[c] < bar) continue;
          if (count == room) thin();
          kept[count++] = row[c];
        }
        thin();
        const index_t above = static_cast<index_t>(std::count_if(kept, kept + top, [bar](T v) { return v > bar; }));
        index_t column = -1;  // of the last entry at the bar that still belongs to them
        for (index_t ties = top - above; ties > 0;) ties -= row[++column] == bar;
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
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
