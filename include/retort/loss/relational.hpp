#pragma once
// Losses on relations between the samples of a batch, from features N x D (maps are flattened). Same form as loss/feature.hpp.

#include <retort/autograd/ops_loss.hpp>
#include <retort/loss/feature.hpp>

namespace retort::loss {

/// Similarity preserving (Tung & Mori 2019): ||G(t) - G(s)||_F^2 / N^2 with G = F F^T, rows scaled to norm 1. Weight 3000.
struct SimilarityPreserving {
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    const auto similarity = [&](Var<T, R> f) {
      const auto rows = flatten(tape, f);
      return normalized(tape, matmul_transposed(tape, rows, rows), 1);
    };
    return mean_square(tape, subtract(tape, similarity(s), similarity(t)));
  }
};

/// Correlation congruence as RepDistiller has it (after Peng et al. 2019): with delta = |s - t| of two embeddings, the mean
/// over neighbours in the batch of sum_d delta_i,d * delta_{i+1},d. Depends on the order of the batch; needs two samples.
struct CorrelationCongruence {
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t) const {
    detail::require_same_shape("loss::CorrelationCongruence", s, t);
    const index_t n = s.extent(0);
    require<value_error>(n >= 2, "loss::CorrelationCongruence: expected at least 2 samples, got ", n);
    const auto delta = activate(tape, functor::Magnitude{}, subtract(tape, s, t));
    auto* rows = tape.template allocate_raw<std::int32_t>(n);
    for (index_t i = 0; i < n; ++i) rows[i] = static_cast<std::int32_t>(i);
    const auto part = [&](index_t from) { return gather_rows(tape, delta, View<const std::int32_t, 1>{rows + from, {n - 1}}); };
    return scale(tape, T(1) / static_cast<T>(n - 1), sum(tape, multiply(tape, part(0), part(1))));
  }
};

/// Distance-wise relations (RKD, Park et al. 2019): smooth L1 of all pairwise distances, each side divided by its mean
/// positive distance. Weight 25.
struct RelationalDistance {
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    const index_t n = s.extent(0);
    require<value_error>(n >= 2, "loss::RelationalDistance: expected at least 2 samples, got ", n);
    const View<T, 2> off = tape.allocate(Shape<2>{n, n});  // 1 off the diagonal
    for (index_t i = 0; i < n; ++i)
      for (index_t j = 0; j < n; ++j) off(i, j) = i == j ? T(0) : T(1);
    const auto relative = [&](Var<T, R> x) {
      const auto f = flatten(tape, x);
      const auto square = sum_axis(tape, multiply(tape, f, f), 1);
      const auto apart = subtract(tape, add(tape, square, reshape(tape, square, Shape<2>{1, n})),
                                  scale(tape, T(2), matmul_transposed(tape, f, f)));
      const auto d = multiply(tape, activate(tape, functor::Sqrt{1e-12}, apart), tape.constant(off));
      const auto mean_distance = scale(tape, T(1) / static_cast<T>(n * (n - 1)), sum(tape, d));
      return divide(tape, d, reshape(tape, mean_distance, Shape<2>{1, 1}));
    };
    return mean(tape, activate(tape, functor::SmoothL1{}, subtract(tape, relative(s), relative(t))));
  }
};

/// Angle-wise relations (RKD): smooth L1 of the cosines at each sample between all pairs of others, with e_ij the unit
/// vector from i to j. Anchor by anchor, so that memory stays N^2 and the N^3 cosines never exist. Weight 50.
struct RelationalAngle {
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    const index_t n = s.extent(0);
    require<value_error>(n >= 2, "loss::RelationalAngle: expected at least 2 samples, got ", n);
    const auto sf = flatten(tape, s), tf = tape.detach(flatten(tape, t));
    const View<T, 2> gradient = tape.allocate(sf.shape());
    GradientSlot<T> slot{gradient.data, false};
    const Var<T, 2> leaf{sf.value, sf.slot && tape.recording() ? &slot : nullptr};
    const T weight = T(1) / static_cast<T>(n * n * n);
    double total = 0;
    for (index_t i = 0; i < n; ++i)
      total += static_cast<double>(tape.add_part([&] {
        auto* row = tape.template allocate_raw<std::int32_t>(1);
        row[0] = static_cast<std::int32_t>(i);
        const View<T, 2> others = tape.allocate(Shape<2>{n, 1});  // 0 for the anchor itself: it has no direction, no gradient
        Kernels<B>::fill(tape.backend(), T(1), others);
        others(i, 0) = T(0);
        const auto cosines = [&](Var<T, 2> f) {
          const auto apart = subtract(tape, f, gather_rows(tape, f, View<const std::int32_t, 1>{row, {1}}));
          const auto e = multiply(tape, normalized(tape, apart, 1), tape.constant(others));
          return matmul_transposed(tape, e, e);
        };
        return scale(tape, weight, sum(tape, activate(tape, functor::SmoothL1{}, subtract(tape, cosines(leaf), cosines(tf)))));
      }));
    return with_gradient(tape, static_cast<T>(total), sf, gradient);
  }
};

/// Probabilistic knowledge transfer (Passalis & Tefas 2018): the mean over pairs of B log((B + e) / (A + e)), A and B the
/// rows of the cosine similarities (1 + cos)/2, scaled to sum 1. Weight 30000.
struct ProbabilisticTransfer {
  double epsilon = 1e-7;
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    const functor::Shift shift{epsilon};
    const auto similarity = [&](Var<T, R> x) {
      const auto f = flatten(tape, x);
      const auto norm = activate(tape, functor::Sqrt{1e-30}, sum_axis(tape, multiply(tape, f, f), 1));
      const auto u = divide(tape, f, activate(tape, shift, norm));
      const auto k = scale(tape, T(0.5), activate(tape, functor::Shift{1}, matmul_transposed(tape, u, u)));
      return divide(tape, k, sum_axis(tape, k, 1));
    };
    const auto a = similarity(s), b = similarity(t);
    const auto ratio = divide(tape, activate(tape, shift, b), activate(tape, shift, a));
    return mean(tape, multiply(tape, b, activate(tape, functor::Log{}, ratio)));
  }
};

}  // namespace retort::loss
