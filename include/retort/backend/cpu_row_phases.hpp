#pragma once
// Phases 1 and 2 of the row-loss engine: the loops over a row that do not know any loss.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <retort/backend/cpu_common.hpp>
#include <retort/backend/row_terms.hpp>
#include <retort/backend/simd_math.hpp>
#include <type_traits>

namespace retort {
namespace cpu {
inline namespace RETORT_ISA {
namespace rows {

using namespace retort::detail::rows;  // what does not depend on the instruction set

/// A whole vector of a row, or a part of one: the rest of a row that does not fill it, a vector with a class to leave out. As the argument of a lambda it says at compile
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
  int hole = -1;  ///< a lane that is left out all the same
  RETORT_INLINE P load(const T* p, T fill = 0) const { return P::load_partial(p, count, fill); }
  RETORT_INLINE void store(T* p, P v) const { v.store_partial(p, count); }
  RETORT_INLINE auto mask() const {
    using Lane = simd::Pack<typename simd::detail::Ieee<T>::bits, P::lanes>;
    return (Lane::iota() < Lane(count)) & ~(Lane::iota() == Lane(hole));
  }
  /// v in the lanes that exist, `other` beyond.
  RETORT_INLINE P keep(P v, P other) const { return select(mask(), v, other); }
};

/// What to bring into cache while a row is computed on: the next row, and where this row's gradient will go.
template <class T>
struct Ahead {
  const T *student, *teacher, *gradient;
  static constexpr index_t line = 64 / static_cast<index_t>(sizeof(T));
  /// The cache line of class i.
  RETORT_INLINE void fetch(index_t i) const {
    __builtin_prefetch(student + i);
    __builtin_prefetch(teacher + i);
    __builtin_prefetch(gradient + i, 1);
  }
};

/// f(offset, Whole or Rest) over a row, from class i on.
template <class T, class F>
RETORT_INLINE void sweep(index_t width, F&& f, index_t i = 0) {
  constexpr int lanes = simd::native_lanes<T>;
  for (; i + lanes <= width; i += lanes) f(i, Whole<T>{});
  if (i < width) f(i, Rest<T>{static_cast<int>(width - i)});
}

/// The same with `ahead`'s lines asked for on the way.
template <class T, class F>
RETORT_INLINE void sweep(index_t width, const Ahead<T>& ahead, F&& f) {
  constexpr int lanes = simd::native_lanes<T>;
  constexpr index_t line = Ahead<T>::line;
  index_t i = 0;
  for (; i + line <= width; i += line) {
    ahead.fetch(i);
#pragma GCC unroll 4
    for (index_t j = 0; j < line; j += lanes) f(i + j, Whole<T>{});
  }
  if (i < width) ahead.fetch(i);
  sweep<T>(width, f, i);
}

/// The same over a row without the class `hole`; none is left out where hole == width.
template <class T, class F>
RETORT_INLINE void sweep_around(index_t width, index_t hole, F&& f) {
  constexpr int lanes = simd::native_lanes<T>;
  const index_t at = hole / lanes * lanes, whole = width / lanes * lanes;
  for (index_t i = 0;; i += lanes) {
    for (const index_t stop = i <= at ? at : whole; i < stop; i += lanes) f(i, Whole<T>{});
    if (i >= width) return;
    f(i, Rest<T>{static_cast<int>(std::min<index_t>(lanes, width - i)), static_cast<int>(i == at ? hole - at : -1)});
  }
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

template <class T>
inline T maximum_except(const T* p, index_t width, index_t hole) {
  const index_t behind = width - hole - 1;
  if (behind <= 0) return maximum(p, hole);
  return hole == 0 ? maximum(p + 1, behind) : std::max(maximum(p, hole), maximum(p + hole + 1, behind));
}

/// The softmaxes of a row at one temperature, [0] the student's, [1] the teacher's. Exponents are to base two:
/// y = z * scale - shift, e = 2^y, p = e * inverse, log p = y * ln 2 - log_sum. (In one step, z / T - (top / T + log_sum), the
/// rounding of large logits would not cancel: the sums are those of y.)
template <class T>
struct Softmaxes {
  T* e[2] = {};
  T scale[2] = {}, shift[2] = {}, inverse[2] = {}, log_sum[2] = {};
  T forward_kl{}, reverse_kl{}, cross_entropy{}, mean_log_p{};
};

/// Number of squarings that turn exponentials at a temperature into those at one: 1, 2, 3 for 2, 4, 8, else 0.
template <class T>
constexpr int squarings(T temperature) {
  return temperature == T(2) ? 1 : temperature == T(4) ? 2 : temperature == T(8) ? 3 : 0;
}

/// The least power of two that stays a normal number through so many squarings.
template <class T>
T least_to_square(int times) {
  using Ieee = simd::detail::Ieee<T>;
  constexpr typename Ieee::bits lowest = Ieee::lowest_exponent;
  return std::bit_cast<T>((1 - lowest - (-lowest >> times)) << Ieee::mantissa);
}

/// What a pass of phase 2 sums up: e of both sides; e_t (y_t - y_s), e_s (y_s - y_t), e_t y_s; y_s.
template <class T>
struct Sums {
  T total[2] = {}, gap_f{}, gap_r{}, cross{}, y{};
  T excess[2] = {};  ///< what the exponent of a class exceeds `greatest_exponent` by
};
/// Beyond it an exponential is cut off, and makes up all of the sum.
template <class T>
inline constexpr T greatest_exponent = T(std::numeric_limits<T>::max_exponent - 30);

/// The sums and exponentials with the class `at`, which the pass left out.
template <unsigned Bits, class T>
inline void put_in(Softmaxes<T>& s, Sums<T>& sums, const T* z, const T* t, index_t at) {
  constexpr T cut = greatest_exponent<T>;
  T y[2] = {}, e[2] = {};
  const auto side = [&](int k, const T* logits, bool kept) {
    y[k] = std::fma(logits[at], s.scale[k], -s.shift[k]);
    sums.excess[k] = std::max(T(0), y[k] - cut);
    e[k] = std::exp2(std::min(y[k], cut));
    sums.total[k] += e[k];
    if (kept) s.e[k][at] = e[k];
  };
  if constexpr (Bits & of_student) side(0, z, Bits & keep_student);
  if constexpr (Bits & of_teacher) side(1, t, Bits & keep_teacher);
  sums.gap_f += e[1] * (y[1] - y[0]);
  sums.gap_r += e[0] * (y[0] - y[1]);
  sums.cross += e[1] * y[0];
  sums.y += y[0];
}
/// Statistics from sums over `width` classes.
template <unsigned Bits, class T>
inline void conclude(Softmaxes<T>& s, const Sums<T>& sums, index_t width) {
  using Pair = simd::Pack<T, 2>;
  const T totals[2] = {(Bits & of_student) ? sums.total[0] : T(1), (Bits & of_teacher) ? sums.total[1] : T(1)};
  (Pair(T(1)) / Pair::load(totals)).store(s.inverse);
  fma(Pair::load(sums.excess), Pair(T(ln2)), log(Pair::load(totals))).store(s.log_sum);
  const T log_ratio = s.log_sum[0] - s.log_sum[1];
  if constexpr (Bits & with_forward) s.forward_kl = T(ln2) * sums.gap_f * s.inverse[1] + log_ratio;
  if constexpr (Bits & with_reverse) s.reverse_kl = T(ln2) * sums.gap_r * s.inverse[0] - log_ratio;
  if constexpr (Bits & with_cross) s.cross_entropy = s.log_sum[0] - T(ln2) * sums.cross * s.inverse[1];
  if constexpr (Bits & with_mean) s.mean_log_p = T(ln2) * sums.y / T(width) - s.log_sum[0];
}

/// Phase 2: exponentials and sums in one pass over both rows; around the class `hole` where `Around`. With `Square` also those
/// at temperature one, from exponentials at a temperature that is a power of two: `times` squarings are cheaper than another
/// exponential, and soft targets at T = 4 beside cross-entropy are the usual case.
///
/// As all phases `flatten`, so that the lambdas are inlined at -O2 too, and `noinline`, since inlining the phase itself
/// would undo that.
template <unsigned Bits, unsigned Square, bool Around, class T>
__attribute__((flatten, noinline)) Sums<T> exponentials(const Softmaxes<T>& s, const T* z, const T* t, index_t width, Ahead<T> ahead, index_t hole,
                                                        std::type_identity_t<T>* const* one, int times, Sums<T>& at_one) {
  constexpr unsigned sides = of_student | of_teacher;
  static_assert((Square & ~(sides | with_mean | keep_both)) == 0 && (Square & sides & ~Bits) == 0);
  using P = simd::Native<T>;
  constexpr bool sums_y = (Bits | Square) & with_mean;
  // Keeps the squares normal numbers, as the exponential itself does.
  const P least(Square == 0 ? T(0) : least_to_square<T>(times));
  const P scale[2] = {s.scale[0], s.scale[1]}, shift[2] = {-s.shift[0], -s.shift[1]}, zero(T(0));
  T *const out[2] = {s.e[0], s.e[1]}, *const out_one[2] = {Square != 0 ? one[0] : nullptr, Square != 0 ? one[1] : nullptr};
  P total[2] = {zero, zero}, total_one[2] = {zero, zero}, gap_f = zero, gap_r = zero, cross = zero, sum_y = zero;
  const auto body = [&](index_t i, auto part) __attribute__((always_inline)) {
    P y[2], e[2];
    if (Around && i % ahead.line == 0) ahead.fetch(i);
    const auto exponent = [&]<int K>(std::integral_constant<int, K>, const T* logits) __attribute__((always_inline)) {
      y[K] = fma(part.load(logits + i), scale[K], shift[K]);
      if constexpr (Around) y[K] = part.keep(y[K], zero);  // a class that is left out may lie anywhere
      e[K] = y[K];
    };
    const auto sum = [&]<int K>(std::integral_constant<int, K>) __attribute__((always_inline)) {
      constexpr unsigned kept = K == 0 ? keep_student : keep_teacher;
      if constexpr (Bits & kept) part.store(out[K] + i, e[K]);
      total[K] += part.keep(e[K], zero);
      if constexpr (Square & (K == 0 ? of_student : of_teacher)) {
        P x = max(e[K], least);
        x = x * x;
        if (times > 1) x = x * x;
        if (times > 2) x = x * x;
        if constexpr (Square & kept) part.store(out_one[K] + i, x);
        total_one[K] += part.keep(x, zero);
      }
    };
    constexpr std::integral_constant<int, 0> student;
    constexpr std::integral_constant<int, 1> teacher;
    if constexpr (Bits & of_student) exponent(student, z);
    if constexpr (Bits & of_teacher) exponent(teacher, t);
    if constexpr ((Bits & sides) == sides)
      exp2_nonpositive(e);
    else
      e[Bits & of_student ? 0 : 1] = exp2_nonpositive(e[Bits & of_student ? 0 : 1]);
    if constexpr (Bits & of_student) sum(student);
    if constexpr (Bits & of_teacher) sum(teacher);
    if constexpr (sums_y) sum_y += part.keep(y[0], zero);
    if constexpr (Bits & with_forward) gap_f = part.keep(fma(e[1], y[1] - y[0], gap_f), gap_f);
    if constexpr (Bits & with_reverse) gap_r = part.keep(fma(e[0], y[0] - y[1], gap_r), gap_r);
    if constexpr (Bits & with_cross) cross = part.keep(fma(e[1], y[0], cross), cross);
  };
  if constexpr (Around)
    sweep_around<T>(width, hole, body);
  else
    sweep<T>(width, ahead, body);
  Sums<T> sums;
  for (int k = 0; k < 2; ++k) sums.total[k] = total[k].sum(), at_one.total[k] = total_one[k].sum();
  sums.gap_f = gap_f.sum();
  sums.gap_r = gap_r.sum();
  sums.cross = cross.sum();
  sums.y = sum_y.sum();
  at_one.y = T(1 << times) * sums.y;
  return sums;
}

}  // namespace rows
}  // namespace RETORT_ISA
}  // namespace cpu
}  // namespace retort
