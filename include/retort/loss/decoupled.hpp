#pragma once

#include <retort/loss/forward_kl.hpp>
#include <retort/loss/non_target.hpp>

namespace retort::loss {

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
  static constexpr RowNeeds needs{.teacher = true, .labels = true, .student_softmax = true, .teacher_softmax = true, .other_maxima = true};
  static constexpr int temperature_power = 2;
  static constexpr const char* name = "DecoupledKd";
  static constexpr int least_classes = 3;

  template <class V>
  using Acc = detail::NonTarget<V>;
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return Acc<V>::identity();
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    using T = typename BasicCell<V>::scalar;
    return a.plus(c, V(T(1) / c.row.temperature));
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return a.plus(b);
  }
  /// From sums to results: the log-sum-exps, `cross` NCKD, `self` TCKD, the two sums b^s_y and b^t_y.
  template <class T>
  RETORT_HD Acc<T> finish(Acc<T> a, const Row<T>& row) const {
    const auto with = a.with_lse(row);
    const T s = with.student_lse, t = with.teacher_lse;
    const T log_bs = row.student.log_p_label, log_bt = row.teacher.log_p_label;
    // log(1 - b) = log-sum-exp over the others minus the one over all = (lse_other - z_y/T) + log b
    const T ys = log_bs + row.student.log_sum, yt = log_bt + row.teacher.log_sum;
    const T all_s = detail::log_add(s, ys), all_t = detail::log_add(t, yt);
    const T bs = std::exp(ys - all_s), bt = std::exp(yt - all_t);
    const T target = bt * ((yt - all_t) - (ys - all_s)) + std::exp(t - all_t) * ((t - all_t) - (s - all_s));
    return {s, bs, t, bt, a.divergence(), target};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>& row) const {
    return T(weight) * row.temperature * row.temperature * (T(alpha) * a.self + T(beta) * a.cross);
  }
  template <class V, class T>
  RETORT_HD V grad(Acc<T> a, const BasicCell<V>& c) const {
    using namespace math;
    const T tau = c.row.temperature, w = T(weight) * tau;
    const V ps = exp(c.z * V(T(1) / tau) - V(a.student_lse)), pt = exp(c.t * V(T(1) / tau) - V(a.teacher_lse));
    const T pull = w * T(alpha) * (a.student_sum - a.teacher_sum);
    return select(c.is_label, V(pull), V(w * T(beta)) * (ps - pt) - V(pull) * ps);
  }
};

}  // namespace retort::loss
