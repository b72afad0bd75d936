#pragma once
// Softmax and log-softmax over the rows of a matrix.

#include <limits>
#include <retort/backend/cpu_common.hpp>
#include <retort/backend/simd_math.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// Rows are independent. y may be x, and dx may be dy. Any finite logits are safe: the row's maximum is subtracted.
struct SoftmaxKernels {
  /// y = exp(x) / sum exp(x), per row.
  template <class T>
  static void softmax_forward(Cpu& cpu, In<T, 2> x, View<T, 2> y) {
    check_shape("softmax", x.shape, y.shape);
    for_rows(cpu, y.shape, [=](index_t r, index_t width) {
      T* out = y.row(r);
      const Lanes<T> scale(T(1) / exponentials<T>(x.row(r), width, out).total);
      for_packs<T>(width, [=](index_t i, int n) { put(out + i, get(out + i, n) * scale, n); });
    });
  }
  /// dx = (dx +) y * (dy - sum(y * dy)), per row.
  template <class T>
  static void softmax_backward(Cpu& cpu, In<T, 2> y, In<T, 2> dy, View<T, 2> dx, Write write) {
    check_shape("softmax", y.shape, dx.shape);
    for_rows(cpu, y.shape, [=](index_t r, index_t width) {
      const T *p = y.row(r), *g = dy.row(r);
      T* out = dx.row(r);
      Lanes<T> dot(T(0));
      for_packs<T>(width, [&](index_t i, int n) { dot = fma(get(p + i, n), get(g + i, n), dot); });
      const Lanes<T> mean(dot.sum());
      for_packs<T>(width, [=](index_t i, int n) {
        const Lanes<T> d = get(p + i, n) * (get(g + i, n) - mean);
        put(out + i, write == Write::add ? d + get(out + i, n) : d, n);
      });
    });
  }
  /// y = x - log sum exp(x), per row.
  template <class T>
  static void log_softmax_forward(Cpu& cpu, In<T, 2> x, View<T, 2> y) {
    check_shape("log_softmax", x.shape, y.shape);
    for_rows(cpu, y.shape, [=](index_t r, index_t width) {
      const T* in = x.row(r);
      T* out = y.row(r);
      const auto s = exponentials<T>(in, width, nullptr);
      const Lanes<T> top(s.top), log_total(std::log(s.total));
      for_packs<T>(width, [=](index_t i, int n) { put(out + i, (get(in + i, n) - top) - log_total, n); });
    });
  }
  /// dx = (dx +) dy - exp(y) * sum(dy), per row.
  template <class T>
  static void log_softmax_backward(Cpu& cpu, In<T, 2> y, In<T, 2> dy, View<T, 2> dx, Write write) {
    check_shape("log_softmax", y.shape, dx.shape);
    for_rows(cpu, y.shape, [=](index_t r, index_t width) {
      const T *lp = y.row(r), *g = dy.row(r);
      T* out = dx.row(r);
      Lanes<T> total(T(0));
      for_packs<T>(width, [&](index_t i, int n) { total += get(g + i, n); });
      const Lanes<T> sum(total.sum());
      for_packs<T>(width, [=](index_t i, int n) {
        const Lanes<T> d = get(g + i, n) - exp(get(lp + i, n)) * sum;
        put(out + i, write == Write::add ? d + get(out + i, n) : d, n);
      });
    });
  }

 private:
  template <class T>
  using Lanes = simd::Native<T>;

  template <class F>
  static void for_rows(Cpu& cpu, Shape<2> shape, F&& f) {
    cpu.parallel(shape[0], (index_t{1} << 13) / (shape[1] + 1) + 1, [&](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r) f(r, shape[1]);
    });
  }
  /// f(offset, lanes in use) over a row.
  template <class T, class F>
  static RETORT_INLINE void for_packs(index_t width, F&& f) {
    constexpr int lanes = Lanes<T>::lanes;
    index_t i = 0;
    for (; i + lanes <= width; i += lanes) f(i, lanes);
    if (i < width) f(i, static_cast<int>(width - i));
  }
  template <class T>
  static RETORT_INLINE Lanes<T> get(const T* p, int n, std::type_identity_t<T> fill = 0) {
    return n == Lanes<T>::lanes ? Lanes<T>::load(p) : Lanes<T>::load_partial(p, n, fill);
  }
  template <class T>
  static RETORT_INLINE void put(T* p, Lanes<T> v, int n) {
    n == Lanes<T>::lanes ? v.store(p) : v.store_partial(p, n);
  }

  template <class T>
  struct Exponentials {
    T top, total;
  };
  /// Maximum of the row, the sum of exp(x - maximum), and where `out` is given the exponentials themselves.
  template <class T>
  static Exponentials<T> exponentials(const T* in, index_t width, T* out) {
    constexpr T lowest = std::numeric_limits<T>::lowest();
    Lanes<T> top(lowest), total(T(0));
    for_packs<T>(width, [&](index_t i, int n) { top = max(top, get(in + i, n, lowest)); });
    const T highest = top.maximum();
    constexpr T log2_e = T(1.44269504088896340736);
    for_packs<T>(width, [&](index_t i, int n) {
      // Lanes past the end hold -infinity after the subtraction at the latest: they add the smallest normal number.
      const Lanes<T> e = exp2_nonpositive((get(in + i, n, lowest) - Lanes<T>(highest)) * Lanes<T>(log2_e));
      total += e;
      if (out != nullptr) put(out + i, e, n);
    });
    return {highest, total.sum()};
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
