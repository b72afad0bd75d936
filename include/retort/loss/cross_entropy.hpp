#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss {

/// Cross-entropy with hard labels, at temperature one: -log p(s)_y. With `label_smoothing` e the target is
/// (1 - e) * onehot(y) + e / C (Szegedy et al. 2016): (1 - e) * -log p_y + e * mean_c(-log p_c).
/// Gradient per row: p - target.
template <class Reduction = retort::detail::Unnamed>
struct CrossEntropy {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  double weight = 1;
  double label_smoothing = 0;  ///< in [0, 1)

  using reduction = Reduction;
  static constexpr RowNeeds needs{.labels = true, .student_softmax = true, .mean_log_p = true};
  static constexpr const char* name = "CrossEntropy";

  template <class T>
  RETORT_HD T value(const Row<T>& row) const {
    const T e = T(label_smoothing);
    return -T(weight) * ((T(1) - e) * row.student.log_p_label + e * row.student.mean_log_p);
  }
  template <class V>
  RETORT_HD RowScaled<V> grad(const BasicCell<V>& c) const {
    using namespace math;
    using T = typename BasicCell<V>::scalar;
    const T e = T(label_smoothing), off = e / T(c.row.classes);
    return {T(weight), c.student.p - select(c.is_label, V(T(1) - e + off), V(off))};
  }
};

}  // namespace retort::loss
