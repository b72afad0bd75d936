#pragma once

#include <cstdint>
#include <cstring>
#include <retort/config.hpp>

namespace retort {

/// A float without its lower 16 bits: 8 bits of mantissa, the range of float. For storage; arithmetic is in float.
struct BFloat16 {
  std::uint16_t bits;

  BFloat16() = default;
  /// Rounds to nearest, ties to even. NaNs stay NaNs.
  RETORT_HD explicit BFloat16(float x) {
#if defined(RETORT_TENSOR_CORES)  // one instruction, which rounds the same
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
#else
    std::uint32_t word;
    memcpy(&word, &x, sizeof word);
    const bool nan = (word & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<std::uint16_t>((nan ? word | 0x400000u : word + 0x7fffu + (word >> 16 & 1u)) >> 16);
#endif
  }
  RETORT_HD explicit BFloat16(double x) : BFloat16(static_cast<float>(x)) {}
  RETORT_HD operator float() const {
    const std::uint32_t word = std::uint32_t{bits} << 16;
    float x;
    memcpy(&x, &word, sizeof x);
    return x;
  }
};

}  // namespace retort
