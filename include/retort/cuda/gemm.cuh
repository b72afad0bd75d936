#pragma once
// Matrix products by cuBLAS. It is column-major: a row-major C = A B is its C^T = B^T A^T, so operands change places and
// keep their transposition flags. This is the only place that knows.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <retort/backend/ops.hpp>
#include <retort/cuda/columns.cuh>

namespace retort::cuda {
inline namespace RETORT_CUDA_ABI {

namespace products {
/// y = f((y +) bias of the column).
template <class Out, class Number>
struct BiasAct {
  const Number* bias;
  Out* y;
  index_t width;
  bool add, relu;
  __device__ void operator()(index_t i) const {
    const Number v = (add ? Number(y[i]) : Number(0)) + (bias ? bias[i % width] : Number(0));
    y[i] = Out(relu && !(v > Number(0)) ? Number(0) : v);
  }
};
/// A product as cuBLAS takes it: c = op(a) op(b) + beta c, column-major, accumulated in Out's precision, at least float.
template <class In, class Out>
struct Product {
  cublasOperation_t ta, tb;
  int m, n, k, lda, ldb;
  bool add, tf32;  ///< the latter is the context's; here since a captured call keeps it, so that it must be compared
  const In *a, *b;
  Out* c;
  void operator()(Cuda& cuda) const {
    if constexpr (std::is_same_v<In, BFloat16>) {
      const float alpha = 1, beta = add;
      check(cublasGemmEx(cuda.blas(), ta, tb, m, n, k, &alpha, a, CUDA_R_16BF, lda, b, CUDA_R_16BF, ldb, &beta, c,
                         std::is_same_v<Out, BFloat16> ? CUDA_R_16BF : CUDA_R_32F, m, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT), "gemm");
    } else {
      const Out alpha(1), beta(add);
      if constexpr (sizeof(Out) == 4)
        check(cublasSgemm(cuda.blas(), ta, tb, m, n, k, &alpha, a, lda, b, ldb, &beta, c, m), "gemm");
      else
        check(cublasDgemm(cuda.blas(), ta, tb, m, n, k, &alpha, a, lda, b, ldb, &beta, c, m), "gemm");
    }
  }
};
/// One with an epilogue, as cuBLASLt takes it.
struct Fused {
  Matmul* plan;
  const void *a, *b, *bias;
  void* c;
  void operator()(Cuda& cuda) const { cuda.run(*plan, a, b, bias, c); }
};
template <class T>
inline constexpr cudaDataType_t type = std::is_same_v<T, BFloat16> ? CUDA_R_16BF : sizeof(T) == 8 ? CUDA_R_64F : CUDA_R_32F;
}  // namespace products

struct Gemm {
  /// c = (c +) op(a) op(b), then bias, one number per column, and ReLU. `Stored` is what the operands are stored as, the
  /// result's type T unless it is named. Operands of BFloat16 are summed in float, with a bias of float; the result is float or
  /// BFloat16, rounded once (a bias is what the sums of the latter begin with): gemm<float, BFloat16>(cuda, ...). Throws
  /// shape_error when the shapes do not fit, cuda_error when an extent passes 2^31.
  ///
  /// A replaced result with bias or ReLU is one call of cuBLASLt with that epilogue (after a copy of the bias as BFloat16, where
  /// the result is). Where cuBLASLt has no algorithm for it, and where the result is added to, it is a product and a kernel.
  template <class T, class Stored = T>
  static void gemm(Cuda& cuda, Transpose ta, Transpose tb, std::type_identity_t<View<const Stored, 2>> a,
                   std::type_identity_t<View<const Stored, 2>> b, View<T, 2> c, Write write = Write::replace,
                   std::type_identity_t<const Sum<Stored>*> bias = nullptr, Epilogue epilogue = Epilogue::none) {
    static_assert(std::is_same_v<T, Stored> || std::is_same_v<T, Sum<Stored>>,
                  "retort: a product of BFloat16 is float or BFloat16, any other one has the type of its operands");
    const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
    const index_t m = c.shape[0], n = c.shape[1], k = a.shape[at ? 0 : 1];
    require<shape_error>(a.shape[at ? 1 : 0] == m && b.shape[bt ? 1 : 0] == k && b.shape[bt ? 0 : 1] == n, "gemm: a ", a.shape,
                         at ? " transposed" : "", " times b ", b.shape, bt ? " transposed" : "", " does not give c ", c.shape);
    if (m == 0 || n == 0) return;
    constexpr index_t most = (index_t{1} << 31) - 1;
    require<cuda_error>(m <= most && n <= most && k <= most, "gemm: cuBLAS takes extents below 2^31, got ", m, " x ", n, " x ", k);
    const auto op = [](bool transposed) { return transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
    const bool relu = epilogue == Epilogue::relu;
    if (write == Write::replace && k > 0 && (bias || relu) &&
        fused<T, Stored>(cuda, op(bt), op(at), static_cast<int>(n), static_cast<int>(m), static_cast<int>(k), b.data, a.data, c.data, bias, relu))
      return;
    const auto finish = [&](const Sum<Stored>* first, bool add, bool cut) {
      map(cuda, "gemm epilogue", c.size(), products::BiasAct<T, Sum<Stored>>{first, c.data, n, add, cut});
    };
    if (bias && !std::is_same_v<T, Sum<Stored>>) {
      finish(bias, write == Write::add, false);
      write = Write::add;
      bias = nullptr;
    }
    const auto leading = [](const auto& x) { return x.shape[1] > 0 ? static_cast<int>(x.shape[1]) : 1; };  // of an empty sum too
    const products::Product<Stored, T> call{op(bt), op(at), static_cast<int>(n), static_cast<int>(m), static_cast<int>(k), leading(b),
                                            leading(a), write == Write::add, cuda.tf32(), b.data, a.data, c.data};
    issue(cuda, call);
    if (bias || relu) finish(bias, true, relu);
  }

 private:
  template <class Call>
  static void issue(Cuda& cuda, const Call& call) {
    if (Replay* replay = cuda.replay())
      replay->call<Cuda>("gemm", call);
    else
      call(cuda);
  }
  /// In cuBLAS's terms. False where there is no such call.
  template <class T, class Stored>
  static bool fused(Cuda& cuda, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const Stored* a, const Stored* b, T* c,
                    const Sum<Stored>* bias, bool relu) {
    const ArenaScope scope(cuda.scratch());
    const void* first = bias;
    T* copy = nullptr;
    if (bias && !std::is_same_v<T, Sum<Stored>>) first = copy = cuda.scratch().template allocate<T>(m);
    const auto compute = sizeof(Stored) == 8 ? CUBLAS_COMPUTE_64F
                         : std::is_same_v<Stored, float> && cuda.tf32() ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    const auto at = &MatmulKey::alignment;
    Matmul* plan = cuda.matmul({products::type<Stored>, products::type<T>, compute, ta, tb, m, n, k,
                                !bias ? CUBLASLT_EPILOGUE_RELU : relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS,
                                at(a), at(b), at(c), at(first)}, first);
    if (!plan) return false;
    if (copy) map(cuda, "gemm bias", m, products::BiasAct<T, Sum<Stored>>{bias, copy, m, false, false});
    issue(cuda, products::Fused{plan, a, b, first, c});
    return true;
  }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace retort::cuda
