#pragma once

#include <retort/functor/row_loss.hpp>

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
  static constexpr RowNeeds needs{.teacher = true, .labels = true, .student_softmax_at_one = true, .label_at_one = true, .others = true};
  static constexpr const char* name = "NormalizedKd";
  static constexpr int least_classes = 3;

  /// p(t)_y.
  template <class T>
  RETORT_HD T prepare(const Row<T>& row) const {
    return std::exp(row.teacher_at_one.log_p_label);
  }
  template <class T>
  RETORT_HD T value(T target, const Row<T>& row) const {
    return T(weight) * (T(gamma) * row.temperature * row.temperature * row.other_cross_entropy - target * row.student_at_one.log_p_label);
  }
  template <class V, class T>
  RETORT_HD V grad(T target, const BasicCell<V>& c) const {
    using namespace math;
    const T w = T(weight);
    const V pull = V(w * target) * c.student_at_one.p;
    return select(c.is_label, pull - V(w * target), pull + V(w * T(gamma) * c.row.temperature) * (c.student_other - c.teacher_other));
  }
};

}  // namespace retort::loss
