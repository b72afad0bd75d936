#pragma once
// The part of cuBLAS that the library uses, by plain loops over the emulated device memory. Column-major, as the original.

#include <cuda_runtime.h>

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_INVALID_VALUE = 7 };
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cublasMath_t { CUBLAS_DEFAULT_MATH = 0, CUBLAS_TF32_TENSOR_OP_MATH = 3 };
using cublasHandle_t = void*;

inline cublasStatus_t cublasCreate(cublasHandle_t* h) { return *h = reinterpret_cast<void*>(1), CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasDestroy(cublasHandle_t) { return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasSetStream(cublasHandle_t, cudaStream_t) { return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasSetWorkspace(cublasHandle_t, void*, std::size_t) { return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }
inline const char* cublasGetStatusString(cublasStatus_t s) { return s == CUBLAS_STATUS_SUCCESS ? "success" : "invalid value"; }

namespace emulation {
template <class T>
cublasStatus_t gemm(cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, T alpha, const T* a, int lda, const T* b, int ldb,
                    T beta, T* c, int ldc) {
  if (m < 0 || n < 0 || k < 0 || lda < (ta == CUBLAS_OP_N ? m : k) || ldb < (tb == CUBLAS_OP_N ? k : n) || ldc < m)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (capture) {
    Node node;
    node.work = [=] { gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc); };
    capture->add(std::move(node));
    return CUBLAS_STATUS_SUCCESS;
  }
  DeviceMemory::Access open;
  for (int j = 0; j < n; ++j)
    for (int i = 0; i < m; ++i) {
      double sum = 0;
      for (int l = 0; l < k; ++l)
        sum += double(ta == CUBLAS_OP_N ? a[i + std::ptrdiff_t{l} * lda] : a[l + std::ptrdiff_t{i} * lda]) *
               double(tb == CUBLAS_OP_N ? b[l + std::ptrdiff_t{j} * ldb] : b[j + std::ptrdiff_t{l} * ldb]);
      T& out = c[i + std::ptrdiff_t{j} * ldc];
      out = T(double(alpha) * sum) + (beta == T(0) ? T(0) : beta * out);
    }
  return CUBLAS_STATUS_SUCCESS;
}
}  // namespace emulation

inline cublasStatus_t cublasSgemm(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float* alpha,
                                  const float* a, int lda, const float* b, int ldb, const float* beta, float* c, int ldc) {
  return emulation::gemm(ta, tb, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
}
inline cublasStatus_t cublasDgemm(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const double* alpha,
                                  const double* a, int lda, const double* b, int ldb, const double* beta, double* c, int ldc) {
  return emulation::gemm(ta, tb, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
}
