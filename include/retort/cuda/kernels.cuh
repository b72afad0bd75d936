#pragma once
// The CUDA backend's kernels, assembled: the same vocabulary as backend/cpu_kernels.hpp.

#include <retort/cuda/conv.cuh>
#include <retort/cuda/elementwise.cuh>
#include <retort/cuda/gemm.cuh>
#include <retort/cuda/graph.cuh>
#include <retort/cuda/pool.cuh>
#include <retort/cuda/row_loss.cuh>
#include <retort/cuda/rows.cuh>

namespace retort {

template <>
struct Kernels<Cuda> : cuda::Elementwise, cuda::RowLossKernels, cuda::Columns, cuda::RowWise, cuda::Gemm, cuda::Convolution, cuda::Pooling, cuda::GraphKernels {};

}  // namespace retort
