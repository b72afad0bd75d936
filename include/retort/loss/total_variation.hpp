#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss {

/// Total variation distance 1/2 * sum |p - q| at temperature one (Wen et al. 2023, "f-Divergence Minimization for
/// Sequence-Level Knowledge Distillation"). With c = 1/2 * sign(q - p) * q, sign(0) = 0, the gradient is c - q * sum c.
template <class Reduction = retort::detail::Unnamed>
struct TotalVariation {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true};
  static constexpr const char* name = "TotalVariation";

  /// sign(q - p); between -1 and 1 where they differ by less than 1e-38. A product and two bounds in place of comparisons.
  template <class V>
  RETORT_HD V keep(const BasicCell<V>& c) const {
    using namespace math;
    return min(max((c.student.p - c.teacher.p) * V(1e38f), V(-1)), V(1));
  }
  template <class V>
  struct Acc {
    V value, pull;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0), V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    return {a.value + (c.student.p - c.teacher.p) * c.kept, a.pull + c.student.p * c.kept};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.value + b.value, a.pull + b.pull};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>&) const {
    return T(0.5 * weight) * a.value;
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(Acc<T> a, const BasicCell<V>& c) const {
    return {T(0.5 * weight), c.student.p * (c.kept - V(a.pull))};
  }
};

}  // namespace retort::loss
