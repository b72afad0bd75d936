#pragma once
// Phases 1 and 2 of the row-loss engine: the loops over a row that do not know any loss.

#include <cmath>
#include <cstdint>
#include <limits>
#include <retort/backend/cpu_common.hpp>
#include <retort/backend/row_terms.hpp>
#include <retort/backend/simd_math.hpp>

namespace retort {
namespace cpu {
inline namespace RETORT_ISA {
namespace rows {

using namespace retort::detail::rows;  // what does not depend on the instruction set

/// A whole vector of a row, or the rest of a row that does not fill one. As the argument of a lambda it says at compile
/// time which of the two it is; loads beyond the row give `fill`.
template <class T>
struct Whole {
  using P = simd::Native<T>;
  static constexpr int count = P::lanes;
  static RETORT_INLINE P load(const T* p, T = 0) { return P::load(p); }
  static RETORT_INLINE void store(T* p, P v) { v.store(p); }
  static RETORT_INLINE P keep(P v, P) { return v; }
};
template <class T>
struct Rest {
  using P = simd::Native<T>;
  int count;
  RETORT_INLINE P load(const T* p, T fill = 0) const { return P::load_partial(p, count, fill); }
  RETORT_INLINE void store(T* p, P v) const { v.store_partial(p, count); }
  RETORT_INLINE auto mask() const {
    using Lane = simd::Pack<typename simd::detail::Ieee<T>::bits, P::lanes>;
    return Lane::iota() < Lane(count);
  }
  /// v in the lanes that exist, `other` beyond.
  RETORT_INLINE P keep(P v, P other) const { return select(mask(), v, other); }
};

/// f(offset, Whole or Rest) over a row.
template <class T, class F>
RETORT_INLINE void sweep(index_t width, F&& f) {
  constexpr int lanes = simd::native_lanes<T>;
  index_t i = 0;
  for (; i + lanes <= width; i += lanes) f(i, Whole<T>{});
  if (i < width) f(i, Rest<T>{static_cast<int>(width - i)});
}

template <class T>
inline T maximum(const T* p, index_t width) {
  using P = simd::Native<T>;
  constexpr int lanes = P::lanes;
  constexpr T lowest = std::numeric_limits<T>::lowest();
  P a(lowest), b(lowest), c(lowest), d(lowest);  // four chains: one maximum waits for the one before it
  index_t i = 0;
  for (; i + 4 * lanes <= width; i += 4 * lanes) {
    a = max(a, P::load(p + i));
    b = max(b, P::load(p + i + lanes));
    c = max(c, P::load(p + i + 2 * lanes));
    d = max(d, P::load(p + i + 3 * lanes));
  }
  for (; i + lanes <= width; i += lanes) a = max(a, P::load(p + i));
  if (i < width) b = max(b, P::load_partial(p + i, static_cast<int>(width - i), lowest));
  return max(max(a, b), max(c, d)).maximum();
}

/// The softmaxes of a row at one temperature, [0] the student's, [1] the teacher's. Exponents are to base two:
/// y = z * scale - shift, e = 2^y, p = e * inverse, log p = y * ln 2 - log_sum. (In one step, z / T - (top / T + log_sum), the
/// rounding of large logits would not cancel: the sums are those of y.)
template <class T>
struct Softmaxes {
  T* e[2] = {};
  T scale[2] = {}, shift[2] = {}, inverse[2] = {}, log_sum[2] = {};
  T forward_kl{}, reverse_kl{}, mean_log_p{};
};

/// What to bring into cache while a row is computed on: the next row, and where this row's gradient will go.
template <class T>
struct Ahead {
  const T *student, *teacher, *gradient;
  RETORT_INLINE void fetch(index_t i) const {
    if (i * static_cast<index_t>(sizeof(T)) % 64 != 0) return;  // once per cache line
    __builtin_prefetch(student + i);
    __builtin_prefetch(teacher + i);
    __builtin_prefetch(gradient + i, 1);
  }
};

/// Number of squarings that turn exponentials at a temperature into those at one: 1, 2, 3 for 2, 4, 8, else 0.
template <class T>
constexpr int squarings(T temperature) {
  return temperature == T(2) ? 1 : temperature == T(4) ? 2 : temperature == T(8) ? 3 : 0;
}

/// Phase 2: exponentials and sums in one pass over both rows. With `Square` (bits of the student's side only) also those at
/// temperature one, from exponentials at a temperature that is a power of two: `times` squarings are cheaper than another
/// exponential, and soft targets at T = 4 beside cross-entropy are the usual case.
///
/// As all phases `flatten`, so that the lambdas are inlined at -O2 too, and `noinline`, since inlining the phase itself
/// would undo that.
template <unsigned Bits, unsigned Square = 0, class T>
__attribute__((flatten, noinline)) void exponentials(Softmaxes<T>& s, const T* z, const T* t, index_t width, Ahead<T> ahead,
                                                     Softmaxes<T>* one = nullptr, int times = 0) {
  static_assert((Square & ~(of_student | with_mean)) == 0 && (Square == 0 || (Bits & of_student)));
  using P = simd::Native<T>;
  constexpr bool has_student = Bits & of_student, has_teacher = Bits & of_teacher;
  constexpr bool sums_y = (Bits | Square) & with_mean;
  // Keeps the squares normal numbers, as the exponential itself does.
  const P least(Square != 0 ? std::exp2(T(std::numeric_limits<T>::min_exponent) / T(1 << times)) : T(0));
  T* const out_one = Square != 0 ? one->e[0] : nullptr;
  P sum_one(T(0));
  const P scale_s(s.scale[0]), shift_s(s.shift[0]), scale_t(s.scale[1]), shift_t(s.shift[1]);
  T *const out_s = s.e[0], *const out_t = s.e[1];
  P sum_s(T(0)), sum_t(T(0)), gap_f(T(0)), gap_r(T(0)), sum_y(T(0));
  const P zero(T(0));
  sweep<T>(width, [&](index_t i, auto part) __attribute__((always_inline)) {
    P ys, yt, es, et;
    ahead.fetch(i);
    if constexpr (has_student) {
      ys = fma(part.load(z + i), scale_s, -shift_s);
      es = exp2_nonpositive(ys);
      es.store(out_s + i);
      sum_s += part.keep(es, zero);
      if constexpr (sums_y) sum_y += part.keep(ys, zero);
      if constexpr (Square != 0) {
        P x = max(es, least);
        x = x * x;
        if (times > 1) x = x * x;
        if (times > 2) x = x * x;
        x.store(out_one + i);
        sum_one += part.keep(x, zero);
      }
    }
    if constexpr (has_teacher) {
      yt = fma(part.load(t + i), scale_t, -shift_t);
      et = exp2_nonpositive(yt);
      et.store(out_t + i);
      sum_t += part.keep(et, zero);
    }
    if constexpr (Bits & with_forward) gap_f = part.keep(fma(et, yt - ys, gap_f), gap_f);
    if constexpr (Bits & with_reverse) gap_r = part.keep(fma(es, ys - yt, gap_r), gap_r);
  });
  using Pair = simd::Pack<T, 2>;
  T sums[2] = {T(1), T(1)};
  if constexpr (has_student) sums[0] = sum_s.sum();
  if constexpr (has_teacher) sums[1] = sum_t.sum();
  (Pair(T(1)) / Pair::load(sums)).store(s.inverse);
  log(Pair::load(sums)).store(s.log_sum);
  const T log_ratio = s.log_sum[0] - s.log_sum[1];
  if constexpr (Bits & with_forward) s.forward_kl = T(ln2) * gap_f.sum() * s.inverse[1] + log_ratio;
  if constexpr (Bits & with_reverse) s.reverse_kl = T(ln2) * gap_r.sum() * s.inverse[0] - log_ratio;
  const T mean_y = sums_y ? T(ln2) * sum_y.sum() / T(width) : T(0);
  if constexpr (Bits & with_mean) s.mean_log_p = mean_y - s.log_sum[0];
  if constexpr (Square != 0) {
    const T total = sum_one.sum();
    one->inverse[0] = T(1) / total;
    one->log_sum[0] = std::log(total);
    if constexpr (Square & with_mean) one->mean_log_p = T(1 << times) * mean_y - one->log_sum[0];
  }
}

}  // namespace rows
}  // namespace RETORT_ISA
}  // namespace cpu
}  // namespace retort
