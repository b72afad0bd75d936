#pragma once
// Matrix products on the CPU.

#ifndef EIGEN_DONT_PARALLELIZE
#define EIGEN_DONT_PARALLELIZE  // Threads split the batch (Cpu::parallel); Eigen's own would fight over the cores.
#endif
#include <Eigen/Core>
#include <retort/backend/cpu_common.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Gemm {
  /// c = (c +) op(a) op(b) (+ bias, one entry per column), then the epilogue. op(a) is M x K, op(b) K x N, c M x N.
  /// Throws shape_error when they do not fit together.
  template <class T>
  static void gemm(Cpu&, Transpose ta, Transpose tb, In<T, 2> a, In<T, 2> b, View<T, 2> c,
                   Write write = Write::replace, Pointer<const T> bias = nullptr, Epilogue epilogue = Epilogue::none) {
    const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
    const index_t m = c.extent(0), n = c.extent(1), k = a.extent(at ? 0 : 1);
    require<shape_error>(a.extent(at ? 1 : 0) == m && b.extent(bt ? 1 : 0) == k && b.extent(bt ? 0 : 1) == n, "gemm: a ",
                         a.shape, at ? " transposed" : "", " times b ", b.shape, bt ? " transposed" : "",
                         " does not give c ", c.shape);
    using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    Eigen::Map<const Matrix> A(a.data, a.extent(0), a.extent(1)), B(b.data, b.extent(0), b.extent(1));
    Eigen::Map<Matrix> C(c.data, m, n);
    if (write == Write::replace) C.setZero();
    if (m == 0 || n == 0) return;
    if (k > 0) {
      if (at && bt)
        C.noalias() += A.transpose() * B.transpose();
      else if (at)
        C.noalias() += A.transpose() * B;
      else if (bt)
        C.noalias() += A * B.transpose();
      else
        C.noalias() += A * B;
    }
    if (bias) C.rowwise() += Eigen::Map<const Eigen::Matrix<T, 1, Eigen::Dynamic>>(bias, n);
    if (epilogue == Epilogue::relu) C = C.cwiseMax(T{0});
  }

  /// out[j] = (out[j] +) sum over the rows of x[.][j]: the gradient of a bias. `out` has as many entries as x columns.
  template <class T>
  static void column_sum(Cpu&, In<T, 2> x, T* out, Write write) {
    const index_t n = x.extent(1);
    if (write == Write::replace) std::fill_n(out, n, T{0});
    for (index_t r = 0; r < x.extent(0); ++r)
      for (index_t j = 0; j < n; ++j) out[j] += x.data[r * n + j];
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
