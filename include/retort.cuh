#pragma once
// Everything for nvcc: the same methods over the backend `Cuda`. The CPU's kernels are not here (nvcc cannot compile them):
// units for the CPU include retort.hpp, and the linker joins them.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <retort/cuda/graph_source.cuh>
#include <retort/cuda/kernels.cuh>
#include <retort/portable.hpp>
