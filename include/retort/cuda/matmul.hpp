#pragma once
// Products with an epilogue as one call of cuBLASLt, and the plans that a context keeps of them. Host code: needs the
// toolkit's headers, not nvcc.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <cublasLt.h>

#include <algorithm>
#include <compare>
#include <cstdint>
#include <map>
#include <retort/cuda/error.hpp>

namespace retort::cuda {

/// c = f(op(a) op(b) + bias) in cuBLAS's terms: column-major, dense, the bias of a number per row of c (m x n) and stored as c
/// is. All that the choice of an algorithm hangs on.
struct MatmulKey {
  cudaDataType_t factors, result;
  cublasComputeType_t compute;  ///< alpha and beta are double with that of 64 bits, float otherwise
  cublasOperation_t ta, tb;
  int m, n, k;
  cublasLtEpilogue_t epilogue;
  unsigned a_at, b_at, c_at, bias_at;  ///< alignments: see `alignment`
  friend auto operator<=>(const MatmulKey&, const MatmulKey&) = default;

  /// Of an address, in bytes; 256 is the most that cuBLASLt asks for.
  static unsigned alignment(const void* p) {
    const auto at = reinterpret_cast<std::uintptr_t>(p);
    return at == 0 ? 256 : static_cast<unsigned>(std::min<std::uintptr_t>(at & (~at + 1), 256));
  }
};

/// A product that cuBLASLt was asked to plan: descriptors, and the algorithm that it chose.
class Matmul {
 public:
  /// Throws cuda_error when cuBLASLt refuses a descriptor. `bias`: an address aligned as the key says, not read here.
  Matmul(cublasLtHandle_t handle, const MatmulKey& key, const void* bias, std::size_t workspace_bytes)
      : wide_(key.compute == CUBLAS_COMPUTE_64F) {
    const bool at = key.ta == CUBLAS_OP_T, bt = key.tb == CUBLAS_OP_T;
    check(cublasLtMatmulDescInit(&operation_, key.compute, wide_ ? CUDA_R_64F : CUDA_R_32F), "cublasLtMatmulDescInit");
    set(CUBLASLT_MATMUL_DESC_TRANSA, static_cast<std::int32_t>(key.ta));
    set(CUBLASLT_MATMUL_DESC_TRANSB, static_cast<std::int32_t>(key.tb));
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<std::uint32_t>(key.epilogue));
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    layout(a_, key.factors, at ? key.k : key.m, at ? key.m : key.k);
    layout(b_, key.factors, bt ? key.n : key.k, bt ? key.k : key.n);
    layout(c_, key.result, key.m, key.n);

    cublasLtMatmulPreferenceOpaque_t preference;
    check(cublasLtMatmulPreferenceInit(&preference), "cublasLtMatmulPreferenceInit");
    const auto prefer = [&preference](cublasLtMatmulPreferenceAttributes_t what, auto value) {
      check(cublasLtMatmulPreferenceSetAttribute(&preference, what, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{workspace_bytes});
    // Parts of the depth, where it is cut, meet in the type of the sums, as Cuda::blas has it, and in a fixed order.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, std::uint32_t{key.a_at});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t{key.b_at});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, std::uint32_t{key.c_at});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, std::uint32_t{key.c_at});
    cublasLtMatmulHeuristicResult_t best{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle, &operation_, &a_, &b_, &c_, &c_, &preference, 1, &best, &count);
    // a configuration that it does not know may also be called one in conflict with itself: both mean two launches
    if (status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_INVALID_VALUE) check(status, "cublasLtMatmulAlgoGetHeuristic");
    planned_ = status == CUBLAS_STATUS_SUCCESS && count > 0 && best.state == CUBLAS_STATUS_SUCCESS;
    algorithm_ = best.algo;
  }

  /// Whether cuBLASLt has an algorithm for this.
  bool planned() const { return planned_; }

  /// Launches; addresses are aligned as they were said to be.
  void operator()(cublasLtHandle_t handle, cudaStream_t stream, void* workspace, std::size_t workspace_bytes, const void* a, const void* b,
                  const void* bias, void* c) {
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    const double wide[] = {1, 0};
    const float narrow[] = {1, 0};
    const void *alpha = wide_ ? static_cast<const void*>(wide) : narrow, *beta = wide_ ? static_cast<const void*>(wide + 1) : narrow + 1;
    check(cublasLtMatmul(handle, &operation_, alpha, a, &a_, b, &b_, beta, c, &c_, c, &c_, &algorithm_, workspace, workspace_bytes, stream),
          "cublasLtMatmul");
  }

 private:
  template <class V>
  void set(cublasLtMatmulDescAttributes_t what, V value) {
    check(cublasLtMatmulDescSetAttribute(&operation_, what, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  static void layout(cublasLtMatrixLayoutOpaque_t& of, cudaDataType_t type, int rows, int columns) {
    check(cublasLtMatrixLayoutInit(&of, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns), rows), "cublasLtMatrixLayoutInit");
  }
  cublasLtMatmulDescOpaque_t operation_{};
  cublasLtMatrixLayoutOpaque_t a_{}, b_{}, c_{};
  cublasLtMatmulAlgo_t algorithm_{};
  bool wide_, planned_ = false;
};

/// The plans of a context: each is made once, on the host alone, so also while a stream captures, and never moved or dropped,
/// since captured calls are compared by its address. Some 600 bytes for each key that occurs.
class MatmulPlans {
 public:
  Matmul& get(cublasLtHandle_t handle, const MatmulKey& key, const void* bias, std::size_t workspace_bytes) {
    return plans_.try_emplace(key, handle, key, bias, workspace_bytes).first->second;
  }

 private:
  std::map<MatmulKey, Matmul> plans_;
};

}  // namespace retort::cuda
