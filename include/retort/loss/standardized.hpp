#pragma once

#include <retort/autograd/ops_loss.hpp>
#include <retort/autograd/ops_matrix.hpp>
#include <retort/loss/evaluate.hpp>

namespace retort {

namespace detail {
template <class T>
struct StandardizeRecord {
  Var<T, 2> x, out;
  T epsilon;
  const T* deviation;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::standardize_rows_backward(tape.backend(), epsilon, out.value, tape.gradient_of(out), deviation, to.view, to.write);
  }
};
}  // namespace detail

/// (x - mean) / (epsilon + deviation) of each row, deviation with divisor C - 1. A constant row gives zeros and no gradient.
/// One kernel where the backend has it (the CPU), tape operations elsewhere. Throws value_error for one column.
template <class T, class B>
Var<T, 2> standardize_rows(Tape<T, B>& tape, Var<T, 2> x, double epsilon = 1e-7) {
  const index_t columns = x.extent(1);
  require<value_error>(columns >= 2, "standardize_rows: expected at least 2 columns, got ", columns);
  if constexpr (requires { &Kernels<B>::template standardize_rows<T>; }) {
    T* deviation = tape.template allocate_raw<T>(x.extent(0));
    const View<T, 2> y = tape.allocate(x.shape());
    Kernels<B>::standardize_rows(tape.backend(), static_cast<T>(epsilon), x.value, y, deviation);
    const Var<T, 2> out = tape.result(y, x.slot);
    tape.record(detail::StandardizeRecord<T>{x, out, static_cast<T>(epsilon), deviation});
    return out;
  } else {
    const auto centred = subtract(tape, x, mean_axis(tape, x, 1));
    const auto variance = scale(tape, T(1) / static_cast<T>(columns - 1), sum_axis(tape, multiply(tape, centred, centred), 1));
    return divide(tape, centred, activate(tape, functor::Shift{epsilon}, activate(tape, functor::Sqrt{}, variance)));
  }
}

namespace loss {

namespace detail {
template <class T, int R>
void replace_result(Var<T, R>& output, Var<T, R> by) {
  output = by;
}
template <class V, class... Taps>
void replace_result(Output<V, Taps...>& output, V by) {
  output.value = by;
}
}  // namespace detail

/// Logit standardisation (Sun et al. 2024, LSKD) over any logit loss: student and teacher logits are standardised per row
/// before the inner loss sees them. Put only the soft part into it; the paper keeps cross-entropy on plain logits:
/// `Joint{Standardized{SoftTargets{.temperature = 2, .weight = 9}}, CrossEntropy<BatchMean>{.weight = 0.1}}`.
template <class Inner>
struct Standardized {
  Inner inner{};
  double epsilon = 1e-7;

  template <class E>
  auto evaluate(E& exchange) const {
    auto seen = exchange;
    detail::replace_result(seen.student, standardize_rows(exchange.tape, result_of(exchange.student), epsilon));
    detail::replace_result(seen.teacher, standardize_rows(exchange.tape, result_of(exchange.teacher), epsilon));
    return loss::evaluate(inner, seen);
  }
};
template <class Inner>
Standardized(Inner) -> Standardized<Inner>;

/// DIST (Huang et al. 2022): 1 - Pearson correlation of the two nets' probabilities at temperature tau, over the classes of
/// each sample (weight beta) and over the samples of each class (gamma), times tau^2. Needs two samples. One fused kernel where
/// the backend has it (the CPU), a chain of tape operations elsewhere.
struct Dist {
  double temperature = 1, beta = 1, gamma = 1, weight = 1;

  template <class E>
  auto evaluate(E& exchange) const {
    return (*this)(exchange.tape, result_of(exchange.student), exchange.tape.detach(result_of(exchange.teacher)));
  }
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t) const {
    require<value_error>(s.extent(0) >= 2, "loss::Dist: the correlation over samples needs at least 2 of them, got ", s.extent(0));
    require<value_error>(temperature > 0, "loss::Dist: expected a temperature above 0, got ", temperature);
    const double whole = weight * temperature * temperature;
    if constexpr (requires { &Kernels<B>::template softmax_correlation<T>; }) {
      if (!t.slot) {
        const View<T, 2> gradient = s.slot && tape.recording() ? tape.allocate(s.shape()) : View<T, 2>{};
        const double value = Kernels<B>::template softmax_correlation<T>(tape.backend(), temperature, whole * beta, whole * gamma, s.value, t.value, gradient);
        return with_gradient(tape, static_cast<T>(value), s, gradient);
      }
    }
    return on_tape(tape, s, t);
  }
  /// The same by tape operations, whose gradient also reaches the teacher.
  template <class T, class B>
  Var<T, 1> on_tape(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t) const {
    const auto p = [&](Var<T, 2> z) { return softmax(tape, scale(tape, static_cast<T>(1 / temperature), z)); };
    const auto a = p(s), b = p(t);
    const auto factor = static_cast<T>(weight * temperature * temperature);
    const auto part = [&](int axis, double share) {  // share * (1 - mean correlation along the axis)
      const auto centre = [&](Var<T, 2> x) { return subtract(tape, x, mean_axis(tape, x, axis)); };
      const auto x = centre(a), y = centre(b);
      const auto norm = [&](Var<T, 2> v) { return activate(tape, functor::Sqrt{}, sum_axis(tape, multiply(tape, v, v), axis)); };
      const auto both = activate(tape, functor::Shift{1e-8}, multiply(tape, norm(x), norm(y)));
      const auto correlation = divide(tape, sum_axis(tape, multiply(tape, x, y), axis), both);
      return scale(tape, -factor * static_cast<T>(share), activate(tape, functor::Shift{-1}, mean(tape, correlation)));
    };
    return add(tape, part(1, beta), part(0, gamma));
  }
};

/// The batch- and class-level terms of multi-level logit distillation (Jin et al. 2023, MLLD) at one temperature, without
/// T^2: ||P_t P_t^T - P_s P_s^T||_F^2 / N and ||P_t^T P_t - P_s^T P_s||_F^2 / C.
struct BatchCorrelation {
  double temperature = 4;
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t) const {
    const auto gram = [&](Var<T, 2> z) {
      const auto p = softmax(tape, scale(tape, static_cast<T>(1 / temperature), z));
      return matmul_transposed(tape, p, p);
    };
    const auto d = subtract(tape, gram(t), gram(s));
    return scale(tape, T(1) / static_cast<T>(s.extent(0)), sum(tape, multiply(tape, d, d)));
  }
};
struct ClassCorrelation {
  double temperature = 4;
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t) const {
    const auto gram = [&](Var<T, 2> z) {
      const auto p = softmax(tape, scale(tape, static_cast<T>(1 / temperature), z));
      const auto one = reshape(tape, p, Shape<3>{1, p.extent(0), p.extent(1)});
      return channel_products(tape, one, one);
    };
    const auto d = subtract(tape, gram(t), gram(s));
    return scale(tape, T(1) / static_cast<T>(s.extent(1)), sum(tape, multiply(tape, d, d)));
  }
};

}  // namespace loss
}  // namespace retort
