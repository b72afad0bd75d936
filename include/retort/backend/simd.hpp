#pragma once
// One small SIMD type over the compilers' vector extensions. Hot kernels name their vectors instead of hoping for
// auto-vectorisation, are correct with and without -ffast-math, and compile to SSE2, AVX2 or AVX-512 by the unit's flags.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <retort/config.hpp>
#include <type_traits>
#if RETORT_VECTOR_BYTES == 64
#include <immintrin.h>  // 0.6 s of compiling; the few AVX2 instructions below go by names that GCC and clang share
#endif

namespace retort::simd {
inline namespace RETORT_ISA {

namespace detail {
/// The compiler's vector types. In a struct of their own because GCC takes a dependent vector type for its element
/// type when it compares the signatures of one class.
template <class T, int N>
struct VectorOf {
  typedef T type __attribute__((vector_size(sizeof(T) * N)));
  typedef T unaligned __attribute__((vector_size(sizeof(T) * N), aligned(sizeof(T)), may_alias));
};

// Loads and stores of the first `count` lanes of a native vector. Where masks exist they are worth an intrinsic: the
// detour through memory costs a call and a stalled load.
#if RETORT_VECTOR_BYTES == 64
RETORT_INLINE __m512 masked_load(const float* p, int count, __m512 fill) {
  return _mm512_mask_loadu_ps(fill, static_cast<__mmask16>((1u << count) - 1), p);
}
RETORT_INLINE __m512d masked_load(const double* p, int count, __m512d fill) {
  return _mm512_mask_loadu_pd(fill, static_cast<__mmask8>((1u << count) - 1), p);
}
RETORT_INLINE void masked_store(float* p, int count, __m512 v) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), v);
}
RETORT_INLINE void masked_store(double* p, int count, __m512d v) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << count) - 1), v);
}
#elif RETORT_VECTOR_BYTES == 32
using Floats = VectorOf<float, 8>::type;
using Doubles = VectorOf<double, 4>::type;
using Ints = VectorOf<int, 8>::type;
using Longs = VectorOf<long long, 4>::type;
RETORT_INLINE Ints lanes_below(int count, float) { return Ints{0, 1, 2, 3, 4, 5, 6, 7} < count; }
RETORT_INLINE Longs lanes_below(int count, double) { return Longs{0, 1, 2, 3} < count; }
RETORT_INLINE Floats masked_load(const float* p, int count, Floats fill) {
  const Ints m = lanes_below(count, 0.f);
  return m ? __builtin_ia32_maskloadps256(reinterpret_cast<const Floats*>(p), m) : fill;
}
RETORT_INLINE Doubles masked_load(const double* p, int count, Doubles fill) {
  const Longs m = lanes_below(count, 0.);
  return m ? __builtin_ia32_maskloadpd256(reinterpret_cast<const Doubles*>(p), m) : fill;
}
RETORT_INLINE void masked_store(float* p, int count, Floats v) { __builtin_ia32_maskstoreps256(reinterpret_cast<Floats*>(p), lanes_below(count, 0.f), v); }
RETORT_INLINE void masked_store(double* p, int count, Doubles v) { __builtin_ia32_maskstorepd256(reinterpret_cast<Doubles*>(p), lanes_below(count, 0.), v); }
#else
template <class T, class V>
V masked_load(const T*, int, V) = delete;
template <class T, class V>
void masked_store(T*, int, V) = delete;
#endif

/// Whether Pack<T, N> has the masked loads and stores above.
template <class T, int N>
inline constexpr bool has_masks = RETORT_VECTOR_BYTES >= 32 && std::is_floating_point_v<T> &&
                                  sizeof(T) * N == RETORT_VECTOR_BYTES;
}  // namespace detail

/// N lanes of an arithmetic type; N is a power of two. Arithmetic works lane by lane, also against scalars.
/// Comparisons give a `Mask`, to be used with `select`.
template <class T, int N>
struct Pack {
  using value_type = T;
  static constexpr int lanes = N;
  using vector_type = typename detail::VectorOf<T, N>::type;
  using unaligned_type = typename detail::VectorOf<T, N>::unaligned;
  using mask_type = decltype(vector_type{} < vector_type{});

  vector_type v;

  Pack() = default;
  RETORT_INLINE Pack(vector_type x) : v(x) {}
  /// Broadcast. Written as a subtraction: 0 + x is no identity for x = -0 and would cost an addition.
  RETORT_INLINE Pack(T x) : v(x - vector_type{}) {}

  static RETORT_INLINE Pack load(const T* p) { return Pack(vector_type(*reinterpret_cast<const unaligned_type*>(p))); }
  /// Integers of one byte, converted.
  static RETORT_INLINE Pack load(const std::int8_t* p) requires std::is_same_v<T, float> {
#if RETORT_VECTOR_BYTES == 64  // compilers convert a vector of bytes one by one
    if constexpr (N == 16) return vector_type(_mm512_maskz_cvtepi32_ps(0xFFFF, _mm512_maskz_cvtepi8_epi32(0xFFFF, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))));
#elif RETORT_VECTOR_BYTES == 32
    if constexpr (N == 8) {
      typename detail::VectorOf<int, 8>::type wide;
      asm("vpmovsxbd %1, %0" : "=x"(wide) : "m"(*reinterpret_cast<const std::int8_t(*)[8]>(p)));
      return __builtin_convertvector(wide, vector_type);
    }
#endif
    vector_type x{};
    for (int i = 0; i < N; ++i) x[i] = static_cast<T>(p[i]);
    return x;
  }
  RETORT_INLINE void store(T* p) const { *reinterpret_cast<unaligned_type*>(p) = v; }
  /// The first `count` lanes from memory (0 <= count <= N), the rest `fill`.
  static RETORT_INLINE Pack load_partial(const T* p, int count, T fill = T{}) {
    if constexpr (detail::has_masks<T, N>) return Pack(vector_type(detail::masked_load(p, count, Pack(fill).v)));
    alignas(sizeof(T) * N) T tmp[N];
    for (int i = 0; i < N; ++i) tmp[i] = fill;
    std::memcpy(tmp, p, static_cast<std::size_t>(count) * sizeof(T));
    return load(tmp);
  }
  RETORT_INLINE void store_partial(T* p, int count) const {
    if constexpr (detail::has_masks<T, N>) return detail::masked_store(p, count, v);
    alignas(sizeof(T) * N) T tmp[N];
    store(tmp);
    std::memcpy(p, tmp, static_cast<std::size_t>(count) * sizeof(T));
  }
  /// 0, 1, 2, ...
  static RETORT_INLINE Pack iota() {
    vector_type x{};
    for (int i = 0; i < N; ++i) x[i] = static_cast<T>(i);
    return x;
  }
  RETORT_INLINE T operator[](int i) const { return v[i]; }

  RETORT_INLINE Pack& operator+=(Pack o) { v += o.v; return *this; }
  RETORT_INLINE Pack& operator-=(Pack o) { v -= o.v; return *this; }
  RETORT_INLINE Pack& operator*=(Pack o) { v *= o.v; return *this; }
  RETORT_INLINE Pack& operator/=(Pack o) { v /= o.v; return *this; }
  friend RETORT_INLINE Pack operator+(Pack a, Pack b) { return a.v + b.v; }
  friend RETORT_INLINE Pack operator-(Pack a, Pack b) { return a.v - b.v; }
  friend RETORT_INLINE Pack operator*(Pack a, Pack b) { return a.v * b.v; }
  friend RETORT_INLINE Pack operator/(Pack a, Pack b) { return a.v / b.v; }
  friend RETORT_INLINE Pack operator-(Pack a) { return -a.v; }
  friend RETORT_INLINE mask_type operator<(Pack a, Pack b) { return a.v < b.v; }
  friend RETORT_INLINE mask_type operator>(Pack a, Pack b) { return a.v > b.v; }
  friend RETORT_INLINE mask_type operator<=(Pack a, Pack b) { return a.v <= b.v; }
  friend RETORT_INLINE mask_type operator>=(Pack a, Pack b) { return a.v >= b.v; }
  friend RETORT_INLINE mask_type operator==(Pack a, Pack b) { return a.v == b.v; }
  friend RETORT_INLINE Pack select(mask_type m, Pack a, Pack b) { return m ? a.v : b.v; }
  /// Bit i: lane i of a is greater than that of b.
  friend RETORT_INLINE unsigned greater_bits(Pack a, Pack b) {
#if RETORT_VECTOR_BYTES == 64
    if constexpr (std::is_same_v<T, float> && N == 16) return _mm512_cmp_ps_mask(__m512(a.v), __m512(b.v), _CMP_GT_OQ);
#elif RETORT_VECTOR_BYTES == 32
    if constexpr (std::is_same_v<T, float> && N == 8) return static_cast<unsigned>(__builtin_ia32_movmskps256(vector_type(a.v > b.v)));
#endif
    unsigned bits = 0;
    for (int i = 0; i < N; ++i) bits |= static_cast<unsigned>(a.v[i] > b.v[i]) << i;
    return bits;
  }
  /// The second operand where a lane is not ordered (NaN).
  friend RETORT_INLINE Pack max(Pack a, Pack b) {
#if RETORT_VECTOR_BYTES == 64  // GCC makes a compare and a blend of the conditional below; its unmasked intrinsic warns
    if constexpr (std::is_same_v<T, float> && N == 16) return vector_type(_mm512_maskz_max_ps(0xFFFF, __m512(a.v), __m512(b.v)));
#elif RETORT_VECTOR_BYTES == 32
    if constexpr (std::is_same_v<T, float> && N == 8) return __builtin_ia32_maxps256(a.v, b.v);
#endif
    return a.v > b.v ? a.v : b.v;
  }
  friend RETORT_INLINE Pack min(Pack a, Pack b) {
#if RETORT_VECTOR_BYTES == 64
    if constexpr (std::is_same_v<T, float> && N == 16) return vector_type(_mm512_maskz_min_ps(0xFFFF, __m512(a.v), __m512(b.v)));
#elif RETORT_VECTOR_BYTES == 32
    if constexpr (std::is_same_v<T, float> && N == 8) return __builtin_ia32_minps256(a.v, b.v);
#endif
    return a.v < b.v ? a.v : b.v;
  }
  /// Rounded as the scalar function is. An instruction by name: a loop over std::sqrt stays one, since that may set errno.
  friend RETORT_INLINE Pack sqrt(Pack a) {
#if RETORT_VECTOR_BYTES == 64
    if constexpr (std::is_same_v<T, float> && N == 16) return vector_type(_mm512_maskz_sqrt_ps(0xFFFF, __m512(a.v)));
    if constexpr (std::is_same_v<T, double> && N == 8) return vector_type(_mm512_maskz_sqrt_pd(0xFF, __m512d(a.v)));
#elif RETORT_VECTOR_BYTES == 32
    if constexpr (std::is_same_v<T, float> && N == 8) return __builtin_ia32_sqrtps256(a.v);
    if constexpr (std::is_same_v<T, double> && N == 4) return __builtin_ia32_sqrtpd256(a.v);
#endif
    for (int i = 0; i < N; ++i) a.v[i] = std::sqrt(a.v[i]);
    return a;
  }
  /// a * b + c, contracted to one instruction where the target has it.
  friend RETORT_INLINE Pack fma(Pack a, Pack b, Pack c) { return a.v * b.v + c.v; }

  /// Sum and maximum over the lanes, in a fixed tree order. Halves of the vector, so that it stays in registers.
  RETORT_INLINE T sum() const {
    if constexpr (N == 2) {
      return v[0] + v[1];
    } else {
      const auto h = halves();
      return (h.low + h.high).sum();
    }
  }
  RETORT_INLINE T maximum() const {
    if constexpr (N == 2) {
      return v[0] > v[1] ? v[0] : v[1];
    } else {
      const auto h = halves();
      return max(h.low, h.high).maximum();
    }
  }

 private:
  struct Halves {
    Pack<T, N / 2> low, high;
  };
  RETORT_INLINE Halves halves() const {
    Halves out;
    std::memcpy(&out, &v, sizeof(out));
    return out;
  }
};

/// Whether any lane of a comparison's result is set.
template <class Mask>
RETORT_INLINE bool any(const Mask& m) {
#if RETORT_VECTOR_BYTES == 32
  if constexpr (sizeof(Mask) == 32) return !__builtin_ia32_ptestz256(detail::Longs(m), detail::Longs(m));
#endif
  std::uint64_t words[sizeof(Mask) / 8], all = 0;
  std::memcpy(words, &m, sizeof(Mask));
  for (std::uint64_t w : words) all |= w;
  return all != 0;
}

/// Has x in a register from here on. Compilers short of registers otherwise read a value again from memory in each of its uses.
template <class T, int N>
RETORT_INLINE void keep(Pack<T, N>& x) {
#if RETORT_VECTOR_BYTES == 32
  if constexpr (sizeof(T) * N == 32) asm("" : "+x"(x.v));
#else
  static_cast<void>(x);
#endif
}

/// Lanes of the native vector of this translation unit.
template <class T>
inline constexpr int native_lanes = RETORT_VECTOR_BYTES / static_cast<int>(sizeof(T));

/// The native vector of this translation unit.
template <class T>
using Native = Pack<T, native_lanes<T>>;

}  // namespace RETORT_ISA
}  // namespace retort::simd
