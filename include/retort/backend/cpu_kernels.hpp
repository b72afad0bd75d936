#pragma once
// The CPU backend's kernels, assembled. Each base struct lives in the header that implements it.

#include <retort/backend/cpu_activation.hpp>
#include <retort/backend/cpu_contrast.hpp>
#include <retort/backend/cpu_conv.hpp>
#include <retort/backend/cpu_correlation.hpp>
#include <retort/backend/cpu_elementwise.hpp>
#include <retort/backend/cpu_gemm.hpp>
#include <retort/backend/cpu_graph.hpp>
#include <retort/backend/cpu_nearest.hpp>
#include <retort/backend/cpu_norm.hpp>
#include <retort/backend/cpu_pool.hpp>
#include <retort/backend/cpu_row_loss.hpp>
#include <retort/backend/cpu_select.hpp>
#include <retort/backend/cpu_sequence.hpp>
#include <retort/backend/cpu_softmax.hpp>

namespace retort {

template <>
struct Kernels<Cpu> : cpu::Elementwise,
                      cpu::ActivationKernels,
                      cpu::SoftmaxKernels,
                      cpu::RowLossKernels,
                      cpu::Gemm,
                      cpu::Convolution,
                      cpu::Normalization,
                      cpu::Pooling,
                      cpu::Selection,
                      cpu::Contrast,
                      cpu::CorrelationKernels,
                      cpu::Nearest,
                      cpu::GraphKernels,
                      cpu::Sequences {};

}  // namespace retort
