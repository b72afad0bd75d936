#include <doctest/doctest.h>

#include <retort/backend/cpu_select.hpp>
#include <retort/core/rng.hpp>
#include <vector>

using namespace retort;

TEST_CASE_TEMPLATE("the top entries of a row are exactly as many as asked, on any distribution", T, float, double) {
  Cpu cpu;
  Rng rng(1);
  const T huge = std::numeric_limits<T>::max();
  const auto draw = [&](int kind) -> T {
    switch (kind) {
      case 0: return static_cast<T>(rng.normal());
      case 1: return static_cast<T>(rng.below(4));                             // ties
      case 2: return T(3);                                                     // constant
      case 3: return rng.below(2) ? T(1e4) : T(-1e4);
      case 4: return rng.below(50) ? static_cast<T>(rng.normal()) : T(1e30);   // an outlier far away
      case 5: return rng.below(2) ? huge : -huge;                              // a range that overflows
      default: return std::numeric_limits<T>::denorm_min() * static_cast<T>(rng.below(9));
    }
  };
  for (index_t columns : {1, 2, 5, 17, 300, 1000})
    for (index_t top : {1, 2, 3, 10, 50, 299, 1000})
      for (int kind = 0; kind < 7; ++kind) {
        if (top > columns) continue;
        std::vector<T> x(static_cast<std::size_t>(2 * columns)), out(6);
        for (T& v : x) v = draw(kind);
        cpu::Selection::select_top(cpu, View<const T, 2>{x.data(), {2, columns}}, top, View<T, 2>{out.data(), {2, 3}});
        for (std::size_t r = 0; r < 2; ++r) {
          const T* row = x.data() + static_cast<index_t>(r) * columns;
          index_t count = 0;
          for (index_t c = 0; c < columns; ++c) count += row[c] > out[3 * r] || (row[c] == out[3 * r] && static_cast<T>(c) <= out[3 * r + 1]);
          REQUIRE(count == top);
          REQUIRE(out[3 * r + 2] == *std::min_element(row, row + columns));
        }
      }
}
