#pragma once
// Every compiler and instruction-set switch of the library lives here; no other header tests a compiler macro.

#include <retort/version.hpp>

#if defined(__CUDACC__)
#define RETORT_HD __host__ __device__ inline
#else
/// Decorates a function that runs on the host and, under nvcc, on the device. Functions only, never members or bases.
#define RETORT_HD inline
#endif

// The widest vector that the translation unit was compiled for. Kernels live in an inline namespace that carries its
// name, so that objects compiled with different -m flags can be linked together without breaking the one-definition rule.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define RETORT_ISA isa_avx512
#define RETORT_VECTOR_BYTES 64
#define RETORT_VECTOR_REGISTERS 32
#elif defined(__AVX2__) && defined(__FMA__)
#define RETORT_ISA isa_avx2
#define RETORT_VECTOR_BYTES 32
#define RETORT_VECTOR_REGISTERS 16
#else
#define RETORT_ISA isa_baseline
#define RETORT_VECTOR_BYTES 16
#define RETORT_VECTOR_REGISTERS 16
#endif

#if defined(__GNUC__) || defined(__clang__)
#define RETORT_INLINE inline __attribute__((always_inline))
#define RETORT_RESTRICT __restrict__
#else
#error "retort needs GCC 12 or Clang 14 or newer: its CPU kernels use the vector extensions of these compilers"
#endif

// Sets the bytes between the members of an object to zero, where the compiler can: two equal objects then have equal bytes.
#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
#define RETORT_CLEAR_PADDING(object) __builtin_clear_padding(&(object))
#endif
#endif
#if !defined(RETORT_CLEAR_PADDING)
#define RETORT_CLEAR_PADDING(object) static_cast<void>(object)
#endif

// Tensor cores with TF32, conversions to BFloat16: device code, from the Ampere generation on.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define RETORT_TENSOR_CORES 1
#endif

/// Before a loop over an array that must stay in registers: nvcc, left to itself, at times keeps the loop, and the array in memory.
/// RETORT_KEEP_LOOP is its opposite.
#if defined(__CUDACC__)
#define RETORT_UNROLL _Pragma("unroll")
#define RETORT_KEEP_LOOP _Pragma("unroll 1")
#else
#define RETORT_UNROLL
#define RETORT_KEEP_LOOP
#endif

// What launches kernels lives in an inline namespace that carries the architectures it was compiled for, so that objects
// built for different GPUs can be linked together.
#if defined(__CUDA_ARCH_LIST__)
#define RETORT_CUDA_ABI_NAME(a, b, c, d, e, f, g, h, ...) sm_##a##_##b##_##c##_##d##_##e##_##f##_##g##_##h
#define RETORT_CUDA_ABI_OF(...) RETORT_CUDA_ABI_NAME(__VA_ARGS__)
#define RETORT_CUDA_ABI RETORT_CUDA_ABI_OF(__CUDA_ARCH_LIST__, 0, 0, 0, 0, 0, 0, 0, 0)
#else
#define RETORT_CUDA_ABI any_device
#endif
