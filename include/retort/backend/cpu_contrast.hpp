#pragma once
// Contrastive scores against rows of a memory bank: gather, dot product, loss and gradient in one sweep, so that the
// gathered rows never exist.

#include <cmath>
#include <retort/backend/cpu_common.hpp>
#include <retort/backend/simd_math.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Contrast {
  /// Mean over all candidates of exp(<bank[index(n, k)], v_n> / tau).
  template <class T>
  static double contrast_mean(Cpu& cpu, double tau, View<const T, 2> v, View<const T, 2> bank, View<const std::int32_t, 2> index) {
    return over_rows(cpu, v, bank, index, [=](index_t n, T* scores) {
      each_block(tau, v, bank, index, n, scores, [](T*, int, index_t) {});
      double total = 0;
      for (index_t k = 0; k < index.extent(1); ++k) total += static_cast<double>(scores[k]);
      return total;
    }) / static_cast<double>(index.size());
  }

  /// Noise-contrastive loss: with scores P = exp(<bank[index(n, k)], v_n> / tau) / z, the first column positive, and
  /// c = noise + 1e-7: -1/N sum_n [log(P_0 / (P_0 + c)) + sum_k log(noise / (P_k + c))]. Writes the gradient by v to dv where
  /// that is not empty. Threads split the rows; every row is summed in one order.
  template <class T>
  static double contrast(Cpu& cpu, double tau, double z, double noise, View<const T, 2> v, View<const T, 2> bank,
                         View<const std::int32_t, 2> index, View<T, 2> dv) {
    using P = simd::Native<T>;
    const index_t width = v.extent(1), rows = v.extent(0);
    const T c = static_cast<T>(noise + 1e-7), pn = static_cast<T>(noise), inverse_z = static_cast<T>(1 / z);
    const T step = static_cast<T>(1 / (tau * static_cast<double>(rows)));
    return over_rows(cpu, v, bank, index, [=](index_t n, T* scores) {
      T* gradient = dv.empty() ? nullptr : dv.row(n);
      if (gradient) std::fill_n(gradient, width, T(0));
      double total = 0;
      each_block(tau, v, bank, index, n, scores, [&](T* p, int count, index_t first) {
        // value and slope of each candidate, a vector at a time; scores past the block's end repeat its last one
        T slope[block];
        for (int i = 0; i < block; i += P::lanes) {
          const P score = P::load(p + i) * P(inverse_z), sum = score + P(c);
          (score / sum).store(slope + i);
          const P term = log(P(pn) / sum);
          for (int l = 0; l < P::lanes && i + l < count; ++l)
            if (first + i + l > 0) total -= static_cast<double>(term.v[l]);
        }
        if (first == 0) {
          const T score = p[0] * inverse_z;
          total -= static_cast<double>(std::log(score / (score + c)));
          slope[0] = -c / (score + c);
        }
        if (gradient)
          for (int i = 0; i < count; ++i) add_scaled(gradient, slope[i] * step, bank.row(index(n, first + i)), width);
      });
      return total;
    }) / static_cast<double>(rows);
  }

  /// bank[at] <- norm(momentum * bank[at] + (1 - momentum) * v_n), at = index(n, 0). Repeated samples: the last one wins.
  template <class T>
  static void contrast_remember(Cpu&, double momentum, View<const T, 2> v, View<const std::int32_t, 2> index, View<T, 2> bank) {
    const index_t width = v.extent(1);
    for (index_t n = 0; n < v.extent(0); ++n) {
      T* to = bank.row(index(n, 0));
      const T* from = v.row(n);
      double square = 0;
      for (index_t d = 0; d < width; ++d) {
        to[d] = static_cast<T>(momentum) * to[d] + static_cast<T>(1 - momentum) * from[d];
        square += static_cast<double>(to[d]) * static_cast<double>(to[d]);
      }
      const T inverse = static_cast<T>(1 / std::max(std::sqrt(square), 1e-12));
      for (index_t d = 0; d < width; ++d) to[d] *= inverse;
    }
  }

 private:
  static constexpr int block = 64;  ///< candidates whose rows stay in the first-level cache between score and gradient

  /// Sum over the rows of f(row, memory for its scores), in order whatever the threads.
  template <class T, class F>
  static double over_rows(Cpu& cpu, View<const T, 2> v, View<const T, 2> bank, View<const std::int32_t, 2> index, F&& f) {
    require<shape_error>(v.extent(1) == bank.extent(1) && v.extent(0) == index.extent(0), "contrast: values ", v.shape, ", bank ",
                         bank.shape, ", candidates ", index.shape);
    const ArenaScope scope(cpu.scratch());
    double* totals = cpu.scratch().template allocate<double>(v.extent(0));
    cpu.parallel(v.extent(0), 1, [&](index_t begin, index_t end, int worker) {
      const ArenaScope own(cpu.scratch(worker));
      T* scores = cpu.scratch(worker).template allocate<T>(index.extent(1) + block);
      for (index_t n = begin; n < end; ++n) totals[n] = f(n, scores);
    });
    double sum = 0;
    for (index_t n = 0; n < v.extent(0); ++n) sum += totals[n];
    return sum;
  }

  /// Exponentials of row n's scores, block by block; f(block of them, how many, first candidate) while the rows are in cache.
  template <class T, class F>
  static void each_block(double tau, View<const T, 2> v, View<const T, 2> bank, View<const std::int32_t, 2> index, index_t n, T* scores, F&& f) {
    using P = simd::Native<T>;
    const index_t width = v.extent(1), candidates = index.extent(1);
    const T inverse_tau = static_cast<T>(1 / tau);
    for (index_t first = 0; first < candidates; first += block) {
      const int count = static_cast<int>(std::min<index_t>(block, candidates - first));
      for (int i = 0; i < count; ++i) {
        if (first + i + ahead < candidates) {
          const T* next = bank.row(index(n, first + i + ahead));
          for (index_t d = 0; d < width; d += 64 / static_cast<index_t>(sizeof(T))) __builtin_prefetch(next + d);
        }
        scores[first + i] = dot(v.row(n), bank.row(index(n, first + i)), width) * inverse_tau;
      }
      for (int i = count; i < block; ++i) scores[first + i] = scores[first + count - 1];
      for (int i = 0; i < block; i += P::lanes) exp(P::load(scores + first + i)).store(scores + first + i);
      f(scores + first, count, first);
    }
  }
  static constexpr index_t ahead = 8;

  template <class T>
  static T dot(const T* a, const T* b, index_t n) {
    using P = simd::Native<T>;
    P s0(T(0)), s1(T(0));
    index_t i = 0;
    for (; i + 2 * P::lanes <= n; i += 2 * P::lanes) {
      s0 = fma(P::load(a + i), P::load(b + i), s0);
      s1 = fma(P::load(a + i + P::lanes), P::load(b + i + P::lanes), s1);
    }
    T sum = (s0 + s1).sum();
    for (; i < n; ++i) sum += a[i] * b[i];
    return sum;
  }
  template <class T>
  static void add_scaled(T* to, T factor, const T* from, index_t n) {
    using P = simd::Native<T>;
    index_t i = 0;
    for (; i + P::lanes <= n; i += P::lanes) fma(P(factor), P::load(from + i), P::load(to + i)).store(to + i);
    for (; i < n; ++i) to[i] += factor * from[i];
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
