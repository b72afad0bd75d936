#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss::detail {

/// What DKD and NKD need of the classes other than the label, at one temperature: log-sum-exps of both nets and the
/// divergence of their distributions. Shifted by the largest of the other logits, they stay exact where the label's
/// probability rounds to one, which is where published code takes the logarithm of zero.
template <class V>
struct NonTarget {
  V student_lse, student_sum, teacher_lse, teacher_sum;  ///< the log-sum-exps are there behind with_lse() only
  V cross;  ///< sum of w * (b - a) with a, b the shifted and scaled logits and w = exp(b)
  V self;   ///< sum of w * b

  RETORT_HD static NonTarget identity() { return {V(0), V(0), V(0), V(0), V(0), V(0)}; }

  /// Adds class c at inverse temperature `inverse`, unless it is the label.
  template <class Cell>
  RETORT_HD NonTarget plus(const Cell& c, V inverse) const {
    using namespace math;
    const V a = select(c.is_label, V(0), (c.z - V(c.row.student_other_max)) * inverse);
    const V b = select(c.is_label, V(0), (c.t - V(c.row.teacher_other_max)) * inverse);
    const V w = select(c.is_label, V(0), exp(b)), e = select(c.is_label, V(0), exp(a));
    return {student_lse, student_sum + e, teacher_lse, teacher_sum + w, cross + w * (b - a), self + w * b};
  }
  RETORT_HD NonTarget plus(const NonTarget& o) const {
    return {V(0), student_sum + o.student_sum, V(0), teacher_sum + o.teacher_sum, cross + o.cross, self + o.self};
  }

  // Of the merged sums of a row:
  /// Log-sum-exps of the scaled logits of the other classes.
  template <class Row>
  RETORT_HD NonTarget with_lse(const Row& row) const {
    return {row.student_other_max / row.temperature + math::log(student_sum), student_sum,
            row.teacher_other_max / row.temperature + math::log(teacher_sum), teacher_sum, cross, self};
  }
  /// KL(p^t || p^s) over the non-target classes.
  RETORT_HD V divergence() const { return cross / teacher_sum - math::log(teacher_sum) + math::log(student_sum); }
  /// Entropy of p^t over the non-target classes.
  RETORT_HD V entropy() const { return math::log(teacher_sum) - self / teacher_sum; }
};

/// log(exp(a) + exp(b)).
template <class T>
RETORT_HD T log_add(T a, T b) {
  const T top = a > b ? a : b, low = a > b ? b : a;
  return top + std::log1p(std::exp(low - top));
}

}  // namespace retort::loss::detail
