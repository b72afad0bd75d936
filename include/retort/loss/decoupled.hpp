#pragma once

#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

namespace detail {
/// log(1 + exp(x)).
template <class T>
RETORT_HD T softplus(T x) {
  return (x > T(0) ? x : T(0)) + std::log1p(std::exp(x > T(0) ? -x : x));
}
}  // namespace detail

/// Decoupled knowledge distillation (Zhao et al. 2022): T^2 * (alpha * TCKD + beta * NCKD), where TCKD = KL of the binary
/// distributions (p_y, 1 - p_y) and NCKD = KL over the classes other than the label; both in the log domain, so that
/// confident logits stay finite. beta per pair in the paper: 2, 6 or 8. Needs three classes: with two NCKD vanishes.
/// Gradient per row: alpha*T*(b^s_y - b^t_y)*(1[c=y] - 1[c!=y]*p^s_c) + beta*T*(p^s_c - p^t_c)*1[c!=y].
template <class Reduction = retort::detail::Unnamed>
struct DecoupledKd {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  double temperature = 4;  ///< > 0
  double alpha = 1;        ///< weight of the target part
  double beta = 8;         ///< weight of the non-target part
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .labels = true, .others = true};
  static constexpr int temperature_power = 2;
  static constexpr const char* name = "DecoupledKd";
  static constexpr int least_classes = 3;

  /// TCKD, and b^s_y - b^t_y.
  template <class T>
  struct Target {
    T divergence, gap;
  };
  template <class T>
  RETORT_HD Target<T> prepare(const Row<T>& row) const {
    const T s = row.student_other.log_p_label, t = row.teacher_other.log_p_label;  // log(b / (1 - b))
    const T log_bs = -detail::softplus(-s), log_bt = -detail::softplus(-t), log_rest_s = -detail::softplus(s), log_rest_t = -detail::softplus(t);
    const T bt = std::exp(log_bt);
    return {bt * (log_bt - log_bs) + std::exp(log_rest_t) * (log_rest_t - log_rest_s), std::exp(log_bs) - bt};
  }
  template <class T>
  RETORT_HD T value(Target<T> target, const Row<T>& row) const {
    return T(weight) * row.temperature * row.temperature * (T(alpha) * target.divergence + T(beta) * row.other_kl);
  }
  template <class V, class T>
  RETORT_HD V grad(Target<T> target, const BasicCell<V>& c) const {
    using namespace math;
    const T w = T(weight) * c.row.temperature, pull = w * T(alpha) * target.gap, part = w * T(beta);
    return select(c.is_label, V(pull), V(part - pull) * c.student_other - V(part) * c.teacher_other);
  }
};

}  // namespace retort::loss
