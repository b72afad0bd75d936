#pragma once
// One small SIMD type over the compilers' vector extensions. Hot kernels name their vectors instead of hoping for
// auto-vectorisation, are correct with and without -ffast-math, and compile to SSE2, AVX2 or AVX-512 by the unit's flags.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <retort/config.hpp>
#include <type_traits>

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
  RETORT_INLINE void store(T* p) const { *reinterpret_cast<unaligned_type*>(p) = v; }
  /// The first `count` lanes from memory (0 <= count <= N), the rest `fill`.
  static RETORT_INLINE Pack load_partial(const T* p, int count, T fill = T{}) {
    alignas(sizeof(T) * N) T tmp[N];
    for (int i = 0; i < N; ++i) tmp[i] = fill;
    std::memcpy(tmp, p, static_cast<std::size_t>(count) * sizeof(T));
    return load(tmp);
  }
  RETORT_INLINE void store_partial(T* p, int count) const {
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
  friend RETORT_INLINE Pack max(Pack a, Pack b) { return a.v > b.v ? a.v : b.v; }
  friend RETORT_INLINE Pack min(Pack a, Pack b) { return a.v < b.v ? a.v : b.v; }
  /// a * b + c, contracted to one instruction where the target has it.
  friend RETORT_INLINE Pack fma(Pack a, Pack b, Pack c) { return a.v * b.v + c.v; }

  /// Sum and maximum over the lanes, in a fixed tree order.
  RETORT_INLINE T sum() const {
    return reduce([](T a, T b) { return a + b; });
  }
  RETORT_INLINE T maximum() const {
    return reduce([](T a, T b) { return a > b ? a : b; });
  }

 private:
  template <class F>
  RETORT_INLINE T reduce(F f) const {
    T tmp[N];
    store(tmp);
    for (int width = N / 2; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) tmp[i] = f(tmp[i], tmp[i + width]);
    return tmp[0];
  }
};

/// Lanes of the native vector of this translation unit.
template <class T>
inline constexpr int native_lanes = RETORT_VECTOR_BYTES / static_cast<int>(sizeof(T));

/// The native vector of this translation unit.
template <class T>
using Native = Pack<T, native_lanes<T>>;

}  // namespace RETORT_ISA
}  // namespace retort::simd
