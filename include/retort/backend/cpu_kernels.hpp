#pragma once
// The CPU backend's kernels, assembled. Each base struct lives in the header that implements it.

#include <retort/backend/cpu_conv.hpp>
#include <retort/backend/cpu_gemm.hpp>
#include <retort/backend/cpu_norm.hpp>
#include <retort/backend/cpu_pool.hpp>

namespace retort {

template <>
struct Kernels<Cpu> : cpu::Gemm, cpu::Convolution, cpu::Normalization, cpu::Pooling {};

}  // namespace retort
