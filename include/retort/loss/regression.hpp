#pragma once
// Losses on the results of two networks that are vectors, not logits: embeddings. `LogitMse<ElementMean>` (one fused pass) is
// the squared error; these are the others.

#include <retort/loss/feature.hpp>
#include <retort/loss/logit_distance.hpp>

namespace retort::loss {

/// Any feature loss between the student's result and the teacher's, in place of taps: `Regression<Huber>`,
/// `Regression<CorrelationCongruence>`.
template <class FeatureLoss>
struct Regression {
  FeatureLoss loss{};
  double weight = 1;

  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    const auto value = loss(tape, result_of(exchange.student), tape.detach(result_of(exchange.teacher)));
    return scale(tape, static_cast<typename decltype(value)::value_type>(weight), value);
  }
};

/// Mean over samples of the sum over entries of w_i (s_i - t_i)^2 / sum of w: squared error with a weight per entry, such as
/// 1 / variance to undo a PCA's decay. Throws shape_error unless there is a weight for each entry.
struct WeightedSquares {
  std::vector<double> weights;
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t) const {
    detail::require_same_shape("loss::WeightedSquares", s, t);
    require<shape_error>(static_cast<index_t>(weights.size()) == s.extent(1), "loss::WeightedSquares: ", weights.size(), " weights for embeddings ",
                         to_string(s.shape()));
    double total = 0;
    for (const double w : weights) total += w;
    const View<T, 2> factor = tape.from_host(Shape<2>{1, s.extent(1)}, [&](View<T, 2> f) {
      for (index_t i = 0; i < s.extent(1); ++i) f.data[i] = static_cast<T>(weights[static_cast<std::size_t>(i)] / total / static_cast<double>(s.extent(0)));
    });
    const auto d = subtract(tape, s, t);
    return sum(tape, multiply(tape, multiply(tape, d, d), tape.constant(factor)));
  }
};

/// Mean over samples of 1 - cos(s, t).
struct CosineDistance {
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t) const {
    detail::require_same_shape("loss::CosineDistance", s, t);
    const auto cosines = sum_axis(tape, multiply(tape, normalized(tape, s, 1), normalized(tape, t, 1)), 1);
    return add_constant(tape, scale(tape, T(-1), mean(tape, cosines)), T(1));
  }
};

/// Mean over entries of Huber's function of s - t: d^2 / 2 for |d| < delta, else delta (|d| - delta / 2) (Huber 1964).
struct Huber {
  double delta = 1;  ///< > 0
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    detail::require_same_shape("loss::Huber", s, t);
    require<value_error>(delta > 0, "loss::Huber: expected a positive delta, got ", delta);
    const auto unit = activate(tape, functor::SmoothL1{}, scale(tape, static_cast<T>(1 / delta), subtract(tape, s, t)));
    return scale(tape, static_cast<T>(delta * delta), mean(tape, unit));
  }
};

}  // namespace retort::loss
