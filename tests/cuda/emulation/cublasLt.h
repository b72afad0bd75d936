#pragma once
// The part of cuBLASLt that the library uses. An algorithm fits the product that it was chosen for, alignments included, and
// uses all of its workspace, as the original may.

#include <cublas_v2.h>

#include <tuple>

using cublasLtHandle_t = void*;
enum cublasLtEpilogue_t { CUBLASLT_EPILOGUE_DEFAULT = 1, CUBLASLT_EPILOGUE_RELU = 2, CUBLASLT_EPILOGUE_BIAS = 4, CUBLASLT_EPILOGUE_RELU_BIAS = 6 };
enum cublasLtReductionScheme_t { CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2 };
enum cublasLtMatmulDescAttributes_t {
  CUBLASLT_MATMUL_DESC_TRANSA = 3, CUBLASLT_MATMUL_DESC_TRANSB = 4, CUBLASLT_MATMUL_DESC_EPILOGUE = 7, CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8
};
enum cublasLtMatmulPreferenceAttributes_t {
  CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
  CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8
};

struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute;
  cudaDataType scale;
  std::int32_t ta, tb;
  std::uint32_t epilogue;
  const void* bias;
};
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType type;
  std::uint64_t rows, columns;
  std::int64_t leading;
};
struct cublasLtMatmulPreferenceOpaque_t {
  std::uint64_t workspace;
  std::uint32_t alignment[4];
};
using cublasLtMatmulDesc_t = cublasLtMatmulDescOpaque_t*;
using cublasLtMatrixLayout_t = cublasLtMatrixLayoutOpaque_t*;
using cublasLtMatmulPreference_t = cublasLtMatmulPreferenceOpaque_t*;

namespace emulation {
inline bool no_heuristic = false;             ///< cuBLASLt knows no algorithm
inline long heuristics = 0, fused_products = 0;  ///< calls

/// What cublasLtMatmul can know about its operands beforehand.
using Problem = std::tuple<int, int, int, int, int, std::uint32_t, std::uint64_t, std::uint64_t, std::uint64_t>;
inline Problem problem(const cublasLtMatmulDescOpaque_t& d, const cublasLtMatrixLayoutOpaque_t& a, const cublasLtMatrixLayoutOpaque_t& c) {
  return {a.type, c.type, d.compute, d.ta, d.tb, d.epilogue, c.rows, c.columns, d.ta == CUBLAS_OP_N ? a.columns : a.rows};
}
inline bool fits(const cublasLtMatmulDescOpaque_t& d, const cublasLtMatrixLayoutOpaque_t& a, const cublasLtMatrixLayoutOpaque_t& b,
                 const cublasLtMatrixLayoutOpaque_t& c) {
  const auto [m, ka] = d.ta == CUBLAS_OP_N ? std::pair(a.rows, a.columns) : std::pair(a.columns, a.rows);
  const auto [kb, n] = d.tb == CUBLAS_OP_N ? std::pair(b.rows, b.columns) : std::pair(b.columns, b.rows);
  return m == c.rows && n == c.columns && ka == kb && a.type == b.type && ka > 0;
}
inline bool known(const cublasLtMatmulDescOpaque_t& d, cudaDataType factors, cudaDataType result) {
  if (d.compute == CUBLAS_COMPUTE_64F) return d.scale == CUDA_R_64F && factors == CUDA_R_64F && result == CUDA_R_64F;
  if (d.scale != CUDA_R_32F) return false;
  if (factors == CUDA_R_16BF) return d.compute == CUBLAS_COMPUTE_32F && (result == CUDA_R_16BF || result == CUDA_R_32F);
  return factors == CUDA_R_32F && result == CUDA_R_32F;
}
inline bool on_boundary(const void* p, std::uint32_t by) { return reinterpret_cast<std::uintptr_t>(p) % by == 0; }
}  // namespace emulation

struct cublasLtMatmulAlgo_t {
  emulation::Problem of{};
  std::uint32_t alignment[4]{}, bias = 0;
  std::uint64_t workspace = 0;
};
struct cublasLtMatmulHeuristicResult_t {
  cublasLtMatmulAlgo_t algo;
  std::size_t workspaceSize;
  cublasStatus_t state;
  float wavesCount;
};

inline cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t d, cublasComputeType_t compute, cudaDataType scale) {
  return *d = {compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr}, CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t what, const void* value, std::size_t bytes) {
  const auto take = [&](auto& to) { return bytes == sizeof to ? (std::memcpy(&to, value, bytes), CUBLAS_STATUS_SUCCESS) : CUBLAS_STATUS_INVALID_VALUE; };
  switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return take(d->ta);
    case CUBLASLT_MATMUL_DESC_TRANSB: return take(d->tb);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return take(d->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return take(d->bias);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}
inline cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t l, cudaDataType type, std::uint64_t rows, std::uint64_t columns, std::int64_t leading) {
  return *l = {type, rows, columns, leading}, CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t p) { return *p = {0, {256, 256, 256, 256}}, CUBLAS_STATUS_SUCCESS; }
inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t what, const void* value,
                                                           std::size_t bytes) {
  const bool workspace = what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
  if (bytes != (workspace ? sizeof(std::uint64_t) : sizeof(std::uint32_t))) return CUBLAS_STATUS_INVALID_VALUE;
  if (workspace)
    std::memcpy(&p->workspace, value, bytes);
  else if (what >= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES)
    std::memcpy(&p->alignment[what - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}
inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t p, int wanted,
                                                     cublasLtMatmulHeuristicResult_t* results, int* count) {
  ++emulation::heuristics;
  *count = 0;
  if (wanted <= 0 || !emulation::fits(*d, *a, *b, *c)) return CUBLAS_STATUS_INVALID_VALUE;
  if (!emulation::known(*d, a->type, c->type)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (emulation::no_heuristic) return CUBLAS_STATUS_SUCCESS;  // none found
  cublasLtMatmulAlgo_t best{.of = emulation::problem(*d, *a, *c), .workspace = std::min<std::uint64_t>(p->workspace, 1024)};
  std::copy(p->alignment, p->alignment + 4, best.alignment);
  while (best.bias < 256 && emulation::on_boundary(d->bias, best.bias ? 2 * best.bias : 1)) best.bias = best.bias ? 2 * best.bias : 1;
  results[0] = {best, best.workspace, CUBLAS_STATUS_SUCCESS, 1};
  return *count = 1, CUBLAS_STATUS_SUCCESS;
}

inline cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void* alpha, const void* a, cublasLtMatrixLayout_t la,
                                     const void* b, cublasLtMatrixLayout_t lb, const void* beta, const void* c, cublasLtMatrixLayout_t lc, void* out,
                                     cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t* algo, void* workspace, std::size_t workspace_bytes, cudaStream_t) {
  using emulation::Half, emulation::on_boundary;
  const auto* at = algo->alignment;
  const bool adds = d->epilogue & CUBLASLT_EPILOGUE_BIAS, relu = d->epilogue & CUBLASLT_EPILOGUE_RELU;
  if (algo->of != emulation::problem(*d, *la, *lc) || !on_boundary(a, at[0]) || !on_boundary(b, at[1]) || !on_boundary(c, at[2]) || !on_boundary(out, at[3]) ||
      !on_boundary(d->bias, algo->bias) || adds != (d->bias != nullptr) || c != out || workspace_bytes < algo->workspace || !workspace)
    return CUBLAS_STATUS_INVALID_VALUE;
  ++emulation::fused_products;
  const auto number = [d](const void* p) { return d->scale == CUDA_R_64F ? *static_cast<const double*>(p) : double(*static_cast<const float*>(p)); };
  const auto run = [&]<class In, class Out>(const In*, Out* to) {
    const auto finish = [=, bias = static_cast<const Out*>(d->bias)](int row, double sum) {
      const double v = bias ? sum + double(bias[row]) : sum;
      return relu && !(v > 0) ? 0 : v;
    };
    const auto used = algo->workspace;
    const auto spoil = [=] { std::memset(workspace, 0xff, used); };
    return emulation::gemm(cublasOperation_t(d->ta), cublasOperation_t(d->tb), int(lc->rows), int(lc->columns), int(d->ta == CUBLAS_OP_N ? la->columns : la->rows),
                           number(alpha), static_cast<const In*>(a), int(la->leading), static_cast<const In*>(b), int(lb->leading), number(beta), to,
                           int(lc->leading), finish, spoil);
  };
  if (la->type == CUDA_R_64F) return run(static_cast<const double*>(nullptr), static_cast<double*>(out));
  if (la->type == CUDA_R_32F) return run(static_cast<const float*>(nullptr), static_cast<float*>(out));
  if (lc->type == CUDA_R_32F) return run(static_cast<const Half*>(nullptr), static_cast<float*>(out));
  return run(static_cast<const Half*>(nullptr), static_cast<Half*>(out));
}
