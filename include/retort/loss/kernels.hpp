#pragma once
// Losses on kernel matrices of a batch. Same form as loss/relational.hpp.

#include <retort/loss/relational.hpp>

namespace retort::loss {

/// Correlation congruence with the paper's kernel (Peng et al. 2019), as torchdistill has it: ||K(s) - K(t)||_F / N^2 with
/// K = e^(-2 gamma) sum_{p <= order} (2 gamma)^p / p! (f f^T)^p, powers entry by entry: a Gaussian kernel of unit vectors,
/// expanded. Features should have norm 1: connect::Embedding{.unit_norm = true}. Weight 0.003; two samples or more.
struct CorrelationCongruenceKernel {
  double gamma = 0.4;
  int order = 2;  ///< >= 0

  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t) const {
    const index_t n = s.extent(0);
    detail::require_pairs("loss::CorrelationCongruenceKernel", n);
    const auto kernel = [&](Var<T, 2> f) {  // Horner: 1 + x (2g/1) (1 + x (2g/2) (...))
      const auto products = matmul_transposed(tape, f, f);
      Var<T, 2> sum = scale(tape, T(0), products);
      for (int p = order; p >= 1; --p)
        sum = scale(tape, static_cast<T>(2 * gamma / p), multiply(tape, products, activate(tape, functor::Shift{1}, sum)));
      return sum;  // the constant 1 is the same on both sides
    };
    const auto d = subtract(tape, kernel(s), kernel(t));
    const auto norm = activate(tape, functor::Sqrt{1e-24}, sum(tape, multiply(tape, d, d)));
    return scale(tape, static_cast<T>(std::exp(-2 * gamma) / static_cast<double>(n * n)), norm);
  }
};

/// 1 - linear centred kernel alignment (Kornblith et al. 2019, CKA) of two features, maps flattened: with K = HFF^TH of each,
/// 1 - <K_s, K_t> / (||K_s|| ||K_t||). Widths may differ; no connector is needed. Two samples or more.
struct KernelAlignment {
  template <class T, class B, int R, int Q>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, Q> t) const {
    detail::require_pairs("loss::KernelAlignment", s.extent(0));
    const auto gram = [&](auto x) {
      const auto f = flatten(tape, x);
      const auto centred = subtract(tape, f, mean_axis(tape, f, 0));
      return matmul_transposed(tape, centred, centred);
    };
    const auto a = gram(s), b = gram(tape.detach(t));
    const auto inner = [&](Var<T, 2> x, Var<T, 2> y) { return sum(tape, multiply(tape, x, y)); };
    const auto norms = activate(tape, functor::Sqrt{1e-24}, multiply(tape, inner(a, a), inner(b, b)));
    const auto alignment = divide(tape, inner(a, b), norms);
    return scale(tape, T(-1), activate(tape, functor::Shift{-1}, alignment));
  }
};

}  // namespace retort::loss
