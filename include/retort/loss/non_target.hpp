#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss::detail {

/// What DKD and NKD need of the classes other than the label, at one temperature: log-sum-exps of both nets and the
/// divergence of their distributions. Running maxima keep it exact where the label's probability rounds to one, which is
/// where published code takes the logarithm of zero.
template <class V>
struct NonTarget {
  V student_max, student_sum, teacher_max, teacher_sum;
  V cross;  ///< sum of w * (b - a) with a, b the scaled logits and w = exp(b - teacher_max)
  V self;   ///< sum of w * (b - teacher_max)

  static constexpr double lowest = -1e30;  ///< stands for minus infinity without its arithmetic
  RETORT_HD static NonTarget identity() { return {V(lowest), V(0), V(lowest), V(0), V(0), V(0)}; }

  /// Adds class c at inverse temperature `inverse`, unless it is the label.
  template <class Cell>
  RETORT_HD NonTarget plus(const Cell& c, V inverse) const {
    using namespace math;
    const V a = c.z * inverse, b = c.t * inverse;
    const V s = max(student_max, a), t = max(teacher_max, b);
    const V shrink_s = exp(student_max - s), shrink_t = exp(teacher_max - t), drop = teacher_max - t;
    const V w = exp(b - t);
    const NonTarget next{s,
                         student_sum * shrink_s + exp(a - s),
                         t,
                         teacher_sum * shrink_t + w,
                         cross * shrink_t + w * (b - a),
                         shrink_t * (self + max(drop, V(-1e4)) * teacher_sum) + w * (b - t)};
    return {select(c.is_label, student_max, next.student_max), select(c.is_label, student_sum, next.student_sum),
            select(c.is_label, teacher_max, next.teacher_max), select(c.is_label, teacher_sum, next.teacher_sum),
            select(c.is_label, cross, next.cross),             select(c.is_label, self, next.self)};
  }
  RETORT_HD NonTarget plus(const NonTarget& o) const {
    using namespace math;
    const V s = max(student_max, o.student_max), t = max(teacher_max, o.teacher_max);
    const V s1 = exp(student_max - s), s2 = exp(o.student_max - s), t1 = exp(teacher_max - t), t2 = exp(o.teacher_max - t);
    const V d1 = max(teacher_max - t, V(-1e4)), d2 = max(o.teacher_max - t, V(-1e4));
    return {s, student_sum * s1 + o.student_sum * s2, t, teacher_sum * t1 + o.teacher_sum * t2, cross * t1 + o.cross * t2,
            t1 * (self + d1 * teacher_sum) + t2 * (o.self + d2 * o.teacher_sum)};
  }

  // Of the merged sums of a row:
  RETORT_HD V student_lse() const { return student_max + math::log(student_sum); }
  RETORT_HD V teacher_lse() const { return teacher_max + math::log(teacher_sum); }
  /// KL(p^t || p^s) over the non-target classes.
  RETORT_HD V divergence() const { return cross / teacher_sum - teacher_lse() + student_lse(); }
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
