#pragma once
// Pearson correlations of two nets' softmaxes along both axes of a batch, with the gradient to one of them (three passes), and
// the standardisation of rows.

#include <cmath>
#include <retort/backend/cpu_row_phases.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct CorrelationKernels {
  /// With a and b the softmaxes of the rows of s / T and t / T: row_weight * (1 - mean over rows of r(a_n, b_n)) + column_weight *
  /// (1 - mean over columns of r(a_c, b_c)), where r(x, y) = <x, y> / (|x| |y| + 1e-8) of the centred x and y. Writes the gradient by
  /// s to `ds` where that is not empty. Throws shape_error unless s and t have one shape. Every sum has one order.
  template <class T>
  static double softmax_correlation(Cpu& cpu, double temperature, double row_weight, double column_weight, In<T, 2> s, In<T, 2> t, View<T, 2> ds) {
    require<shape_error>(t.shape == s.shape, "softmax_correlation: student logits have shape ", s.shape, ", teacher logits have shape ", t.shape);
    using P = simd::Native<T>;
    constexpr index_t lanes = P::lanes;
    const index_t rows = s.extent(0), classes = s.extent(1), width = (classes + lanes - 1) / lanes * lanes;
    Arena<Cpu>& arena = cpu.scratch(0);
    const ArenaScope scope(arena);
    const auto matrix = [&] { return View<T, 2>{arena.template allocate<T>(rows * width), {rows, width}}; };  // zeros beyond the classes
    const View<T, 2> a = matrix(), b = matrix();
    Moments<T>* of_row = arena.template allocate<Moments<T>>(rows);
    Columns<T> of_column{};
    for (T** p : {&of_column.mean_a, &of_column.mean_b, &of_column.by_a, &of_column.by_b}) *p = arena.template allocate<T>(width);
    T* correlation = arena.template allocate<T>(width);

    const T mean = T(1) / static_cast<T>(classes);
    cpu.parallel(rows, grain(classes), [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r) {
        softmax(s.row(r), static_cast<T>(1 / temperature), classes, a.row(r));
        softmax(t.row(r), static_cast<T>(1 / temperature), classes, b.row(r));
        P xx(T(0)), yy(T(0)), xy(T(0));
        rows::sweep<T>(classes, [&](index_t c, auto part) __attribute__((always_inline)) {
          const P x = part.keep(P::load(a.row(r) + c) - P(mean), P(T(0))), y = part.keep(P::load(b.row(r) + c) - P(mean), P(T(0)));
          xx = fma(x, x, xx), yy = fma(y, y, yy), xy = fma(x, y, xy);
        });
        of_row[r] = moments(xx.sum(), yy.sum(), xy.sum());
      }
    });
    const T row_factor = static_cast<T>(-row_weight / static_cast<double>(rows)), column_factor = static_cast<T>(-column_weight / static_cast<double>(classes));
    cpu.parallel(width / lanes, grain(rows * lanes), [=](index_t begin, index_t end, int) {  // vectors of columns
      for (index_t c = begin * lanes; c < end * lanes; c += lanes) {
        P sum_a(T(0)), sum_b(T(0)), xx(T(0)), yy(T(0)), xy(T(0));
        for (index_t r = 0; r < rows; ++r) sum_a += P::load(a.row(r) + c), sum_b += P::load(b.row(r) + c);
        const P ma = sum_a * P(T(1) / static_cast<T>(rows)), mb = sum_b * P(T(1) / static_cast<T>(rows));
        for (index_t r = 0; r < rows; ++r) {
          const P x = P::load(a.row(r) + c) - ma, y = P::load(b.row(r) + c) - mb;
          xx = fma(x, x, xx), yy = fma(y, y, yy), xy = fma(x, y, xy);
        }
        ma.store(of_column.mean_a + c), mb.store(of_column.mean_b + c);
        for (int l = 0; l < lanes; ++l) {
          const Moments<T> m = moments(xx[l], yy[l], xy[l]);
          correlation[c + l] = m.correlation;
          of_column.by_a[c + l] = column_factor * m.by_x;
          of_column.by_b[c + l] = column_factor * m.by_y;
        }
      }
    });
    if (!ds.empty())
      cpu.parallel(rows, grain(classes), [=](index_t begin, index_t end, int) {
        for (index_t r = begin; r < end; ++r)
          gradient(of_row[r], row_factor, of_column, mean, static_cast<T>(1 / temperature), classes, a.row(r), b.row(r), ds.row(r));
      });
    double over_rows = 0, over_columns = 0;
    for (index_t r = 0; r < rows; ++r) over_rows += static_cast<double>(of_row[r].correlation);
    for (index_t c = 0; c < classes; ++c) over_columns += static_cast<double>(correlation[c]);
    return row_weight * (1 - over_rows / static_cast<double>(rows)) + column_weight * (1 - over_columns / static_cast<double>(classes));
  }

  /// y = (x - mean) / (epsilon + deviation) of each row, deviation with divisor C - 1; keeps the deviations. A constant row gives zeros.
  template <class T>
  static void standardize_rows(Cpu& cpu, T epsilon, In<T, 2> x, View<T, 2> y, T* deviation) {
    cpu.parallel(x.extent(0), grain(x.extent(1)), [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r) deviation[r] = standardize(x.row(r), x.extent(1), epsilon, y.row(r));
    });
  }
  /// dx = (dy - mean dy) / (epsilon + deviation) - y <dy, y> / ((C - 1) deviation), by `write`; 0 where the deviation is 0.
  template <class T>
  static void standardize_rows_backward(Cpu& cpu, T epsilon, In<T, 2> y, In<T, 2> dy, const T* deviation, View<T, 2> dx, Write write) {
    cpu.parallel(y.extent(0), grain(y.extent(1)), [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r) standardized_gradient(y.row(r), dy.row(r), y.extent(1), epsilon, deviation[r], dx.row(r), write == Write::add);
    });
  }

 private:
  template <class T>
  __attribute__((flatten, noinline)) static T standardize(const T* x, index_t width, T epsilon, T* y) {
    using P = simd::Native<T>;
    const P origin(x[0]);  // sums of differences to it: exact zeros in a constant row, little rounding beside a large mean
    P sum(T(0)), square(T(0));
    rows::sweep<T>(width, [&](index_t c, auto part) __attribute__((always_inline)) { sum += part.keep(part.load(x + c) - origin, P(T(0))); });
    const P mean(sum.sum() / static_cast<T>(width));
    rows::sweep<T>(width, [&](index_t c, auto part) __attribute__((always_inline)) {
      const P d = part.keep(part.load(x + c) - origin - mean, P(T(0)));
      square = fma(d, d, square);
    });
    const T deviation = std::sqrt(square.sum() / static_cast<T>(width - 1));
    const P inverse(T(1) / (epsilon + deviation));
    rows::sweep<T>(width, [&](index_t c, auto part) __attribute__((always_inline)) { part.store(y + c, (part.load(x + c) - origin - mean) * inverse); });
    return deviation;
  }
  template <class T>
  __attribute__((flatten, noinline)) static void standardized_gradient(const T* y, const T* dy, index_t width, T epsilon, T deviation, T* dx, bool add) {
    using P = simd::Native<T>;
    P sum(T(0)), dot(T(0));
    rows::sweep<T>(width, [&](index_t c, auto part) __attribute__((always_inline)) {
      const P g = part.load(dy + c);
      sum += g;
      dot = fma(g, part.load(y + c), dot);
    });
    const bool flat = !(deviation > T(0));
    const P mean(sum.sum() / static_cast<T>(width)), inverse(flat ? T(0) : T(1) / (epsilon + deviation)),
        along(flat ? T(0) : dot.sum() / (static_cast<T>(width - 1) * deviation));
    rows::sweep<T>(width, [&](index_t c, auto part) __attribute__((always_inline)) {
      const P d = (part.load(dy + c) - mean) * inverse - part.load(y + c) * along;
      part.store(dx + c, add ? part.load(dx + c) + d : d);
    });
  }
  /// Of centred x and y: r(x, y), whose derivative by x is by_y * y + by_x * x.
  template <class T>
  struct Moments {
    T correlation, by_y, by_x;
  };
  template <class T>
  struct Columns {
    T *mean_a, *mean_b, *by_a, *by_b;
  };
  template <class T>
  static Moments<T> moments(T xx, T yy, T xy) {
    const T nx = std::sqrt(xx), ny = std::sqrt(yy), both = nx * ny + T(1e-8);
    return {xy / both, T(1) / both, nx > T(0) ? -xy * ny / (both * both * nx) : T(0)};
  }
  static index_t grain(index_t work) { return (index_t{1} << 13) / (work + 1) + 1; }

  template <class T>
  __attribute__((flatten, noinline)) static void softmax(const T* z, T scale, index_t classes, T* p) {
    using P = simd::Native<T>;
    const T k = scale * T(retort::detail::rows::log2_e), shift = rows::maximum(z, classes) * k;
    P sum(T(0));
    rows::sweep<T>(classes, [&](index_t c, auto part) __attribute__((always_inline)) {
      const P e = part.keep(exp2_nonpositive(fma(part.load(z + c), P(k), P(-shift))), P(T(0)));
      e.store(p + c);
      sum += e;
    });
    const P inverse(T(1) / sum.sum());
    for (index_t c = 0; c < classes; c += P::lanes) (P::load(p + c) * inverse).store(p + c);
  }

  template <class T>
  __attribute__((flatten, noinline)) static void gradient(Moments<T> row, T factor, Columns<T> column, T mean, T scale, index_t classes, const T* a,
                                                          const T* b, T* ds) {
    using P = simd::Native<T>;
    const P by_x(factor * row.by_x), by_y(factor * row.by_y);
    P dot(T(0));
    rows::sweep<T>(classes, [&](index_t c, auto part) __attribute__((always_inline)) {
      const P pa = P::load(a + c), pb = P::load(b + c);
      const P of_row = by_y * (pb - P(mean)) + by_x * (pa - P(mean));
      const P g = of_row + P::load(column.by_b + c) * (pb - P::load(column.mean_b + c)) + P::load(column.by_a + c) * (pa - P::load(column.mean_a + c));
      part.store(ds + c, g);
      dot = fma(g, pa, dot);  // pa is 0 beyond the classes
    });
    const P pull(dot.sum());
    rows::sweep<T>(classes, [&](index_t c, auto part) __attribute__((always_inline)) {
      part.store(ds + c, P(scale) * P::load(a + c) * (part.load(ds + c) - pull));
    });
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
