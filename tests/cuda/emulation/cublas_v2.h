#pragma once
// The part of cuBLAS that the library uses, by plain loops over the emulated device memory. Column-major, as the original.

#include <cuda_runtime.h>

enum cublasStatus_t { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_INVALID_VALUE = 7, CUBLAS_STATUS_NOT_SUPPORTED = 15 };
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cublasMath_t { CUBLAS_DEFAULT_MATH = 0, CUBLAS_TF32_TENSOR_OP_MATH = 3, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION = 16 };
enum cudaDataType { CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16BF = 14 };
using cudaDataType_t = cudaDataType;
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_64F = 70, CUBLAS_COMPUTE_32F_FAST_TF32 = 77 };
enum cublasGemmAlgo_t { CUBLAS_GEMM_DEFAULT = -1 };
using cublasHandle_t = void*;

inline cublasStatus_t cublasCreate(cublasHandle_t* h) { return *h = reinterpret_cast<void*>(1), CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasDestroy(cublasHandle_t) { return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasSetStream(cublasHandle_t, cudaStream_t) { return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasSetWorkspace(cublasHandle_t, void*, std::size_t) { return CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }
inline const char* cublasGetStatusString(cublasStatus_t s) { return s == CUBLAS_STATUS_SUCCESS ? "success" : "invalid value"; }

namespace emulation {
/// The upper half of a float.
struct Half {
  std::uint16_t bits;
  explicit operator double() const {
    const std::uint32_t word = std::uint32_t{bits} << 16;
    float x;
    std::memcpy(&x, &word, sizeof x);
    return x;
  }
  Half& operator=(double x) {  // between the two neighbours, the nearer; of equally near ones the even
    float f = static_cast<float>(x);
    std::uint32_t word;
    std::memcpy(&word, &f, sizeof word);
    const Half low{static_cast<std::uint16_t>(word >> 16)}, high{static_cast<std::uint16_t>((word >> 16) + 1)};
    const double below = std::abs(f - double(low)), above = std::abs(double(high) - f);
    bits = below < above || (below == above && low.bits % 2 == 0) ? low.bits : high.bits;
    return *this;
  }
};
/// finish(row, value) is stored; begin() comes first.
template <class In, class Out, class Finish, class Begin>
cublasStatus_t gemm(cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, double alpha, const In* a, int lda, const In* b, int ldb,
                    double beta, Out* c, int ldc, Finish finish, Begin begin) {
  if (m < 0 || n < 0 || k < 0 || lda < (ta == CUBLAS_OP_N ? m : k) || ldb < (tb == CUBLAS_OP_N ? k : n) || ldc < m)
    return CUBLAS_STATUS_INVALID_VALUE;
  if (capture) {
    Node node;
    node.work = [=] { gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, finish, begin); };
    capture->add(std::move(node));
    return CUBLAS_STATUS_SUCCESS;
  }
  DeviceMemory::Access open;
  begin();
  for (int j = 0; j < n; ++j)
    for (int i = 0; i < m; ++i) {
      double sum = 0;
      for (int l = 0; l < k; ++l)
        sum += double(ta == CUBLAS_OP_N ? a[i + std::ptrdiff_t{l} * lda] : a[l + std::ptrdiff_t{i} * lda]) *
               double(tb == CUBLAS_OP_N ? b[l + std::ptrdiff_t{j} * ldb] : b[j + std::ptrdiff_t{l} * ldb]);
      Out& out = c[i + std::ptrdiff_t{j} * ldc];
      const double before = beta == 0 ? 0 : beta * double(out);
      const double value = finish(i, alpha * sum + before);
      if constexpr (std::is_same_v<Out, Half>)
        out = value;
      else
        out = Out(value);
    }
  return CUBLAS_STATUS_SUCCESS;
}
template <class In, class Out>
cublasStatus_t gemm(cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, double alpha, const In* a, int lda, const In* b, int ldb,
                    double beta, Out* c, int ldc) {
  return gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, [](int, double value) { return value; }, [] {});
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
inline cublasStatus_t cublasGemmEx(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void* alpha, const void* a,
                                   cudaDataType type_a, int lda, const void* b, cudaDataType type_b, int ldb, const void* beta, void* c,
                                   cudaDataType type_c, int ldc, cublasComputeType_t, cublasGemmAlgo_t) {
  using emulation::Half;
  if (type_a != CUDA_R_16BF || type_b != CUDA_R_16BF) return CUBLAS_STATUS_INVALID_VALUE;
  const double scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  if (type_c == CUDA_R_16BF)
    return emulation::gemm(ta, tb, m, n, k, scale, static_cast<const Half*>(a), lda, static_cast<const Half*>(b), ldb, keep, static_cast<Half*>(c), ldc);
  return emulation::gemm(ta, tb, m, n, k, scale, static_cast<const Half*>(a), lda, static_cast<const Half*>(b), ldb, keep, static_cast<float*>(c), ldc);
}
