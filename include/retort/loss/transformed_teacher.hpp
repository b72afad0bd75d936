#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss {

/// Transformed teacher matching (Zheng & Yang 2024, "Knowledge Distillation Based on Transformed Teacher Matching"):
/// KL(q || p(s)) with q_c proportional to p(t)_c^gamma, i.e. the teacher alone is tempered, at 1/gamma; no T^2.
/// Gradient per row: p(s) - q.
template <class Reduction = retort::detail::Unnamed>
struct TransformedTeacherMatching {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  double gamma = 0.1;  ///< exponent of the teacher's probabilities, > 0
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true, .forward_kl = true};
  static constexpr const char* name = "TransformedTeacherMatching";

  RETORT_HD constexpr double teacher_temperature() const { return 1 / gamma; }
  template <class T>
  RETORT_HD T value(const Row<T>& row) const {
    return T(weight) * row.forward_kl;
  }
  template <class V>
  RETORT_HD RowScaled<V> grad(const BasicCell<V>& c) const {
    return {typename BasicCell<V>::scalar(weight), c.student.p - c.teacher.p};
  }
};

/// Weighted TTM: times U = sum_c p(t)_c^gamma per sample, which grows with the teacher's uncertainty.
/// Gradient per row: U * (p(s) - q).
template <class Reduction>
struct WeightedTransformedTeacherMatching {
  double gamma = 0.2;  ///< > 0
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true};
  static constexpr const char* name = "WeightedTransformedTeacherMatching";

  /// p(t)^gamma.
  template <class V>
  RETORT_HD V keep(const BasicCell<V>& c) const {
    using namespace math;
    return exp(power(c));
  }
  /// Of the powered teacher probabilities: U, and sum of w * log(w / p(s)).
  template <class V>
  struct Acc {
    V sum, cross;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0), V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    return {a.sum + c.kept, a.cross + c.kept * (power(c) - c.student.log_p)};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.sum + b.sum, a.cross + b.cross};
  }
  /// U * KL(q || p(s)).
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>&) const {
    return T(weight) * (a.cross - a.sum * std::log(a.sum));
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(Acc<T> a, const BasicCell<V>& c) const {
    return {T(weight), V(a.sum) * c.student.p - c.kept};
  }

 private:
  template <class V>
  RETORT_HD V power(const BasicCell<V>& c) const {
    return V(typename BasicCell<V>::scalar(gamma)) * c.teacher.log_p;
  }
};

}  // namespace retort::loss
