#pragma once
// exp, log, tanh and the normal distribution function for packs: branch-free polynomials, our own minimax fits.
//
// Rounding to an integer is done by conversion, never by adding and subtracting 1.5 * 2^23: -ffast-math folds that away.
// Clamps are written so that a NaN stays a NaN. float: within 3e-7 relative, the normal distribution function within
// 6e-7; double: exp within 1e-14, the others lane by lane through <cmath>, since double is the precision of checks, not of training.

#include <cmath>
#include <cstdint>
#include <limits>
#include <retort/backend/simd.hpp>
#include <retort/functor/math.hpp>

namespace retort::simd {
inline namespace RETORT_ISA {
namespace detail {

template <class T>
struct Ieee;
template <>
struct Ieee<float> {
  using bits = std::int32_t;
  static constexpr int mantissa = 23, lowest_exponent = -126;
};
template <>
struct Ieee<double> {
  using bits = std::int64_t;
  static constexpr int mantissa = 52, lowest_exponent = -1022;
};
template <class T, int N>
using BitsVector = typename Pack<typename Ieee<T>::bits, N>::vector_type;
template <int N>
using IntVector = typename Pack<std::int32_t, N>::vector_type;

/// c[0] + c[1] x + ... by Horner's rule, of K packs in lockstep: a chain of products alone leaves most of the machine idle.
/// Recursive, since at -O2 a loop over the coefficients stays a loop.
template <int From = 0, class P, class T, int C, int K>
RETORT_INLINE void polynomial(const P (&x)[K], const T (&c)[C], P (&out)[K]) {
  if constexpr (From + 1 < C) polynomial<From + 1>(x, c, out);
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) out[k] = From + 1 < C ? fma(out[k], x[k], P(c[From])) : P(c[From]);
}
template <class P, class T, int C>
RETORT_INLINE P polynomial(P x, const T (&c)[C]) {
  const P one[] = {x};
  P out[1];
  polynomial(one, c, out);
  return out[0];
}

#if RETORT_VECTOR_BYTES == 64
/// 2^y for any y by the instructions made for it: y - floor(y), and a product with 2^floor(y).
RETORT_INLINE Pack<float, 16> exp2_whole_range(Pack<float, 16> y) {
  constexpr float c[] = {1.f, 6.931513118e-1f, 2.401644502e-1f, 5.579991286e-2f, 9.017030645e-3f, 1.867129927e-3f};
  const Pack<float, 16> r = _mm512_maskz_reduce_ps(__mmask16(-1), y.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  return _mm512_maskz_scalef_ps(__mmask16(-1), polynomial(r, c).v, y.v);
}
RETORT_INLINE Pack<double, 8> exp2_whole_range(Pack<double, 8> y) {
  constexpr double c[] = {1.,
                          6.9314718055994592839e-1,
                          2.402265069590633031e-1,
                          5.5504108665602239693e-2,
                          9.6181290995508847479e-3,
                          1.3333558629563308056e-3,
                          1.5403512309712714452e-4,
                          1.5253175054232612153e-5,
                          1.3208367302595417149e-6,
                          1.0253212348158804346e-7,
                          6.5595296424183043278e-9,
                          6.263465635390428647e-10};
  const Pack<double, 8> r = _mm512_maskz_reduce_pd(__mmask8(-1), y.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  return _mm512_maskz_scalef_pd(__mmask8(-1), polynomial(r, c).v, y.v);
}
#endif
/// Other packs have no such instructions.
template <class P>
P exp2_whole_range(P) = delete;

/// y rounded to an integer, up to 1/2 away: to nearest where one instruction does it. `half` is 1/2 with the sign of y.
/// Through 32-bit integers for double too: SSE2 and AVX2 have no conversion from double to 64-bit integers.
template <class T, int N>
RETORT_INLINE IntVector<N> nearest(Pack<T, N> y, Pack<T, N> half) {
#if RETORT_VECTOR_BYTES == 32
  if constexpr (std::is_same_v<T, float> && N == 8) return IntVector<N>(__builtin_ia32_cvtps2dq256(y.v));
#endif
  return __builtin_convertvector((y + half).v, IntVector<N>);
}

/// 2^y = 2^whole * 2^r with r = y - whole in [-1/2, 1/2], of K packs in lockstep.
template <class T, int N, int K>
RETORT_INLINE void exp2_split(Pack<T, N> (&y)[K], const IntVector<N> (&whole)[K]) {
  using P = Pack<T, N>;
  using Bits = BitsVector<T, N>;
  P r[K];
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) r[k] = y[k] - P(__builtin_convertvector(whole[k], typename P::vector_type));
  if constexpr (sizeof(T) == 4) {
    constexpr T c[] = {1.f, 6.931469776e-1f, 2.402224209e-1f, 5.550733743e-2f, 9.671512653e-3f, 1.326472752e-3f};
    polynomial(r, c, y);
  } else {
    constexpr T c[] = {1.,
                       6.931471805599453258e-1,
                       2.402265069591013126e-1,
                       5.5504108664820083202e-2,
                       9.6181291075940200684e-3,
                       1.3333558146774630027e-3,
                       1.5403530457112067243e-4,
                       1.5252733493116650645e-5,
                       1.3215435282336804252e-6,
                       1.0178199576815802044e-7,
                       7.0737832417910573793e-9,
                       4.4347705024668643059e-10};
    polynomial(r, c, y);
  }
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) {
    Bits bits;
    std::memcpy(&bits, &y[k].v, sizeof(bits));
    bits += __builtin_convertvector(whole[k], Bits) << Ieee<T>::mantissa;
    std::memcpy(&y[k].v, &bits, sizeof(bits));
  }
}

template <class F, class T, int N>
RETORT_INLINE Pack<T, N> lane_by_lane(F f, Pack<T, N> x) {
  alignas(sizeof(T) * N) T lane[N];
  x.store(lane);
  for (int i = 0; i < N; ++i) lane[i] = f(lane[i]);
  return Pack<T, N>::load(lane);
}

}  // namespace detail

/// y = 2^y for y <= 1/2, the exponential of a softmax, whose arguments are never positive: of K packs in lockstep. Below the
/// normal range the result is 0 or the smallest normal number, by instruction set; NaN stays NaN.
template <class T, int N, int K>
RETORT_INLINE void exp2_nonpositive(Pack<T, N> (&y)[K]) {
  if constexpr (requires { detail::exp2_whole_range(y[0]); }) {
#pragma GCC unroll 2
    for (int k = 0; k < K; ++k) y[k] = detail::exp2_whole_range(y[k]);
  } else {
    detail::IntVector<N> whole[K];
#pragma GCC unroll 2
    for (int k = 0; k < K; ++k) y[k] = max(Pack<T, N>(T(detail::Ieee<T>::lowest_exponent)), y[k]);
#pragma GCC unroll 2
    for (int k = 0; k < K; ++k) whole[k] = detail::nearest(y[k], Pack<T, N>(T(-0.5)));
    detail::exp2_split(y, whole);
  }
}
template <class T, int N>
RETORT_INLINE Pack<T, N> exp2_nonpositive(Pack<T, N> y) {
  Pack<T, N> one[] = {y};
  exp2_nonpositive(one);
  return one[0];
}

/// e^x; at the ends of the normal range it saturates or, by instruction set, becomes 0 or infinite.
template <class T, int N>
RETORT_INLINE Pack<T, N> exp(Pack<T, N> x) {
  using P = Pack<T, N>;
  P y = x * P(T(1.44269504088896340736));
  if constexpr (requires { detail::exp2_whole_range(y); }) {
    return detail::exp2_whole_range(y);
  } else {
    constexpr T lowest = T(detail::Ieee<T>::lowest_exponent);
    P one[] = {min(P(-lowest + 1), max(P(lowest), y))};
    const detail::IntVector<N> whole[] = {detail::nearest(one[0], select(one[0] < P(T(0)), P(T(-0.5)), P(T(0.5))))};
    detail::exp2_split(one, whole);
    return one[0];
  }
}

/// Natural logarithm of positive, normal numbers.
template <int N>
RETORT_INLINE Pack<float, N> log(Pack<float, N> x) {
  using P = Pack<float, N>;
  using Bits = detail::BitsVector<float, N>;
  constexpr std::int32_t sqrt_half = 0x3f3504f3;
  Bits bits;
  std::memcpy(&bits, &x.v, sizeof(bits));
  const Bits exponent = (bits - sqrt_half) & std::int32_t(0xff800000);  // x = m * 2^k with m in [sqrt(1/2), sqrt(2)), and this is 2^23 k
  bits -= exponent;
  typename P::vector_type m;
  std::memcpy(&m, &bits, sizeof(m));
  const P f = P(m) - P(1.f), e = P(__builtin_convertvector(exponent, typename P::vector_type));
  // Terms in pairs, and the pairs in pairs: half as long a chain of products as Horner's.
  const P f2 = f * f;
  const P low = fma(fma(f, P(1.996306402e-1f), P(-2.500133706e-1f)), f2, fma(f, P(3.333391073e-1f), P(-0.5f)));
  const P high = fma(fma(f, P(8.700448457e-2f), P(-1.426749077e-1f)), f2, fma(f, P(1.491476508e-1f), P(-1.657758409e-1f)));
  return fma(e, P(0.693147180559945f / (1 << 23)), fma(f2, fma(high, f2 * f2, low), f));
}
template <int N>
RETORT_INLINE Pack<double, N> log(Pack<double, N> x) {
  return detail::lane_by_lane([](double v) { return std::log(v); }, x);
}

template <class T, int N>
RETORT_INLINE Pack<T, N> abs(Pack<T, N> x) {
  if constexpr (std::is_floating_point_v<T>) {
    detail::BitsVector<T, N> bits;
    std::memcpy(&bits, &x.v, sizeof(bits));
    bits &= std::numeric_limits<typename detail::Ieee<T>::bits>::max();  // all but the sign
    std::memcpy(&x.v, &bits, sizeof(bits));
    return x;
  } else {
    return select(x < Pack<T, N>(T(0)), -x, x);
  }
}

template <int N>
RETORT_INLINE Pack<float, N> tanh(Pack<float, N> x) {
  using P = Pack<float, N>;
  const P a = abs(x);
  // Away from 0 through the exponential, near 0 as an odd polynomial: 1 - e would cancel there.
  const P e = exp(P(-2.f) * a);
  const P far = (P(1.f) - e) / (P(1.f) + e);
  constexpr float c[] = {-3.333328194e-1f, 1.33314422e-1f, -5.373971497e-2f, 2.063908683e-2f, -5.704986515e-3f};
  const P a2 = a * a;
  const P t = select(a < P(0.625f), fma(a * a2, detail::polynomial(a2, c), a), far);
  return select(x < P(0.f), -t, t);
}
template <int N>
RETORT_INLINE Pack<double, N> tanh(Pack<double, N> x) {
  return detail::lane_by_lane([](double v) { return std::tanh(v); }, x);
}

/// Distribution function of the standard normal, accurate relative to its value down to about x = -13.
template <int N>
RETORT_INLINE Pack<float, N> normal_cdf(Pack<float, N> x) {
  using P = Pack<float, N>;
  // Phi(-u sqrt(2)) = exp(-u^2) erfcx(u) / 2, and erfcx(u) = t P(t) with t = 1 / (1 + u/2), which is smooth.
  const P u = abs(x) * P(0.70710678118654752f);
  const P t = P(1.f) / fma(u, P(0.5f), P(1.f));
  constexpr float c[] = {2.82086418e-1f,   2.823753067e-1f, 2.431037787e-1f,  2.02686796e-1f, -2.662546943e-2f,
                         2.78066841e-1f,   -4.871995898e-1f, 2.845747996e-1f, -5.906892358e-2f};
  const P tail = P(0.5f) * exp(P(-0.5f) * x * x) * (t * detail::polynomial(t, c));
  return select(x < P(0.f), tail, P(1.f) - tail);
}
template <int N>
RETORT_INLINE Pack<double, N> normal_cdf(Pack<double, N> x) {
  return detail::lane_by_lane([](double v) { return math::normal_cdf(v); }, x);
}

}  // namespace RETORT_ISA
}  // namespace retort::simd
