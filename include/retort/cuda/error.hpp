#pragma once
// CUDA and cuBLAS statuses as typed errors. Needs the toolkit's headers, not nvcc.

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <retort/core/error.hpp>

namespace retort {

/// A call of the CUDA runtime or of cuBLAS failed; the message says which call and what CUDA calls the failure.
struct cuda_error : error {
  using error::error;
};

/// The device has no room: how many bytes were asked for, and how many were free.
struct device_memory_error : cuda_error {
  device_memory_error(std::size_t asked_, std::size_t free_)
      : cuda_error(detail::concat("CUDA: out of memory: ", asked_, " bytes asked, ", free_, " free on the device")), asked(asked_),
        free(free_) {}
  std::size_t asked, free;
};

namespace cuda {

/// Throws cuda_error when `status` is one. An error of an earlier asynchronous call may surface here.
inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) [[unlikely]]
    throw cuda_error(detail::concat("CUDA: ", what, ": ", cudaGetErrorName(status), " (", cudaGetErrorString(status), ")"));
}
inline void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) [[unlikely]]
    throw cuda_error(detail::concat("cuBLAS: ", what, ": ", cublasGetStatusString(status)));
}

}  // namespace cuda
}  // namespace retort
