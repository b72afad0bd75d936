#pragma once

#include <retort/loss/non_target.hpp>

namespace retort::loss {

/// NKD (Yang et al. 2023, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized
/// Loss"): -p(t)_y * log p(s)_y - gamma * T^2 * sum_{c != y} p^t_c * log p^s_c, with p^ the distribution over the classes
/// other than the label at temperature T; the first term is at temperature one. Needs three classes.
/// Gradient per row: p(t)_y * (p(s)_c - 1[c=y]) + gamma * T * (p^s_c - p^t_c) * 1[c!=y].
template <class Reduction = retort::detail::Unnamed>
struct NormalizedKd {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  double temperature = 1;  ///< > 0, of the non-target term
  double gamma = 1.5;      ///< weight of the non-target term
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .labels = true, .student_softmax_at_one = true, .teacher_softmax_at_one = true, .other_maxima = true};
  static constexpr const char* name = "NormalizedKd";
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
  /// From sums to results: the log-sum-exps, `cross` the cross-entropy of p^t and p^s, `self` p(t)_y.
  template <class T>
  RETORT_HD Acc<T> finish(Acc<T> a, const Row<T>& row) const {
    const auto with = a.with_lse(row);
    return {with.student_lse, T(0), with.teacher_lse, T(0), a.divergence() + a.entropy(), std::exp(row.teacher_at_one.log_p_label)};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>& row) const {
    return T(weight) * (T(gamma) * row.temperature * row.temperature * a.cross - a.self * row.student_at_one.log_p_label);
  }
  template <class V, class T>
  RETORT_HD V grad(Acc<T> a, const BasicCell<V>& c) const {
    using namespace math;
    const T tau = c.row.temperature, w = T(weight);
    const V ps = exp(c.z * V(T(1) / tau) - V(a.student_lse)), pt = exp(c.t * V(T(1) / tau) - V(a.teacher_lse));
    const V target = V(w * a.self) * c.student_at_one.p;
    return select(c.is_label, target - V(w * a.self), target + V(w * T(gamma) * tau) * (ps - pt));
  }
};

}  // namespace retort::loss
