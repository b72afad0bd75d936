#pragma once
// Losses on relations between the samples of a batch, from features N x D (maps are flattened). Same form as loss/feature.hpp.

#include <numeric>
#include <retort/autograd/ops_loss.hpp>
#include <retort/loss/feature.hpp>
#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

namespace detail {
/// An N x N constant with `at(i, j)` in place (i, j).
template <class T, class B, class F>
Var<T, 2> pair_constant(Tape<T, B>& tape, index_t n, F&& at) {
  return tape.constant(tape.from_host(Shape<2>{n, n}, [&](View<T, 2> table) {
    for (index_t i = 0; i < n; ++i)
      for (index_t j = 0; j < n; ++j) table(i, j) = at(i, j);
  }));
}
}  // namespace detail

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
    detail::require_pairs("loss::CorrelationCongruence", n);
    const auto delta = activate(tape, functor::Magnitude{}, subtract(tape, s, t));
    const View<std::int32_t, 1> rows = tape.template from_host<std::int32_t>(Shape<1>{n}, [](View<std::int32_t, 1> to) { std::iota(to.begin(), to.end(), 0); });
    const auto part = [&](index_t from) { return gather_rows(tape, delta, View<const std::int32_t, 1>{rows.data + from, {n - 1}}); };
    return scale(tape, T(1) / static_cast<T>(n - 1), sum(tape, multiply(tape, part(0), part(1))));
  }
};

/// Distance-wise relations (RKD, Park et al. 2019): smooth L1 of all pairwise distances, each side divided by its mean
/// positive distance. Weight 25.
struct RelationalDistance {
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    const index_t n = s.extent(0);
    detail::require_pairs("loss::RelationalDistance", n);
    const auto off = detail::pair_constant(tape, n, [](index_t i, index_t j) { return i == j ? T(0) : T(1); });
    const auto relative = [&](Var<T, R> x) {
      const auto f = flatten(tape, x);
      const auto square = sum_axis(tape, multiply(tape, f, f), 1);
      const auto apart = subtract(tape, add(tape, square, reshape(tape, square, Shape<2>{1, n})),
                                  scale(tape, T(2), matmul_transposed(tape, f, f)));
      const auto d = multiply(tape, activate(tape, functor::Sqrt{1e-12}, apart), off);
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
    detail::require_pairs("loss::RelationalAngle", n);
    const auto sf = flatten(tape, s), tf = tape.detach(flatten(tape, t));
    const View<T, 2> gradient = tape.allocate(sf.shape());
    GradientSlot<T> slot{gradient.data, false};
    const Var<T, 2> leaf{sf.value, sf.slot && tape.recording() ? &slot : nullptr};
    const T weight = T(1) / static_cast<T>(n * n * n);
    double total = 0;
    for (index_t i = 0; i < n; ++i)
      total += static_cast<double>(tape.add_part([&] {
        const View<const std::int32_t, 1> row = tape.template from_host<std::int32_t>(Shape<1>{1}, [&](View<std::int32_t, 1> to) { to(0) = static_cast<std::int32_t>(i); });
        const View<T, 2> others = tape.from_host(Shape<2>{n, 1}, [&](View<T, 2> to) {
          for (index_t j = 0; j < n; ++j) to(j, 0) = j == i ? T(0) : T(1);  // the anchor itself has no direction, no gradient
        });
        const auto cosines = [&](Var<T, 2> f) {
          const auto apart = subtract(tape, f, gather_rows(tape, f, row));
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

namespace detail {
/// What keeps pairs out of a softmax over a batch: added to a logit at temperature T, it leaves no probability there.
template <class T>
constexpr T withheld(double temperature) {
  return static_cast<T>(-1e4 * temperature);
}
}  // namespace detail

/// Whether the sample itself is among those that RelationalKl compares it with.
struct WithSelf {};
struct WithoutSelf {};
/// What RelationalKl compares: cosines (both sides scaled to norm 1), or inner products as they are.
struct Cosine {};
struct InnerProduct {};

/// The student's embeddings learn to query the teacher's: for each sample the student's distribution over the batch's teacher
/// embeddings follows the teacher's own. With unit rows x (student) and z (teacher), q_ij = softmax_j(z_i.z_j / temperature) and
/// p_ij = softmax_j(x_i.z_j / temperature), the value is mean_i KL(q_i || p_i); gradient by x_i: sum_j (p_ij - q_ij) z_j / (N
/// temperature). A relational part of ReAugKD (Zhang et al. 2023), reconstructed: see method/reaugkd.hpp. A batch of one
/// sample has value and gradient 0. Throws shape_error when the widths differ.
///
/// `Divergence` is a row loss of student and teacher logits with a `temperature` (ReverseKl for the other direction), `Self`
/// WithSelf or WithoutSelf, `Similarity` Cosine or InnerProduct.
template <class Divergence = ForwardKl<BatchMean, NoTSquared>, class Self = WithSelf, class Similarity = Cosine>
struct RelationalKl {
  static_assert(std::is_same_v<Self, WithSelf> || std::is_same_v<Self, WithoutSelf>,
                "retort: loss::RelationalKl compares a sample with the batch either loss::WithSelf or loss::WithoutSelf; see retort/loss/relational.hpp");
  static_assert(std::is_same_v<Similarity, Cosine> || std::is_same_v<Similarity, InnerProduct>,
                "retort: loss::RelationalKl measures similarity by loss::Cosine or loss::InnerProduct; see retort/loss/relational.hpp");
  double temperature = 0.1;  ///< > 0

  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t) const {
    detail::require_same_shape("loss::RelationalKl", s, t);
    require<value_error>(temperature > 0, "loss::RelationalKl: expected a temperature above 0, got ", temperature);
    const index_t n = s.extent(0);
    if (n == 1) return scale(tape, T(0), sum(tape, s));
    const auto unit = [&](Var<T, 2> x) {
      if constexpr (std::is_same_v<Similarity, Cosine>)
        return normalized(tape, x, 1);
      else
        return x;
    };
    const Var<T, 2> x = unit(s), z = unit(tape.detach(t));
    Var<T, 2> queries = matmul_transposed(tape, x, z), keys = matmul_transposed(tape, z, z);
    if constexpr (std::is_same_v<Self, WithoutSelf>) {
      const auto apart = detail::pair_constant(tape, n, [&](index_t i, index_t j) { return i == j ? detail::withheld<T>(temperature) : T(0); });
      queries = add(tape, queries, apart);
      keys = add(tape, keys, apart);
    }
    return row_loss(tape, Divergence{.temperature = temperature}, RowLossInputs<T>{.student = queries, .teacher = keys});
  }
};

}  // namespace retort::loss
