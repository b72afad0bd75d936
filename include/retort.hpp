#pragma once
// Everything that runs on the CPU. Plain C++20: no CUDA toolkit is needed for anything that this header names.

#include <retort/backend/cpu_kernels.hpp>
#include <retort/portable.hpp>
