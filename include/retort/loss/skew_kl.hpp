#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss {

namespace detail {
/// share * a + (1 - share) * b, kept above the smallest normal number: where both underflow the terms are 0 anyway.
template <class V>
RETORT_HD V mixture(double share, V a, V b) {
  using namespace math;
  using T = typename retort::detail::ValueTraits<V>::scalar;
  return max(V(T(1e-37)), V(T(share)) * a + V(T(1 - share)) * b);
}

struct TeacherFirst {  // KL(p || alpha * p + (1 - alpha) * q)
  static constexpr const char* name = "SkewForwardKl";
  template <class V>
  RETORT_HD static V term(double alpha, const BasicCell<V>& c) {
    using namespace math;
    return c.teacher.p * (c.teacher.log_p - log(mixture(alpha, c.teacher.p, c.student.p)));
  }
  template <class V>
  RETORT_HD static V pull(double alpha, const BasicCell<V>& c) {
    using namespace math;
    using T = typename BasicCell<V>::scalar;
    return V(T(alpha - 1)) * c.student.p * (c.teacher.p / mixture(alpha, c.teacher.p, c.student.p));
  }
};
struct StudentFirst {  // KL(q || (1 - alpha) * p + alpha * q)
  static constexpr const char* name = "SkewReverseKl";
  template <class V>
  RETORT_HD static V term(double alpha, const BasicCell<V>& c) {
    using namespace math;
    return c.student.p * (c.student.log_p - log(mixture(alpha, c.student.p, c.teacher.p)));
  }
  template <class V>
  RETORT_HD static V pull(double alpha, const BasicCell<V>& c) {
    using namespace math;
    using T = typename BasicCell<V>::scalar;
    const V m = mixture(alpha, c.student.p, c.teacher.p);
    return c.student.p * (c.student.log_p - log(m) + V(1) - V(T(alpha)) * c.student.p / m);
  }
};
}  // namespace detail

/// A skewed KL divergence at temperature one (Ko et al. 2024, "DistiLLM"); see the two aliases. With c = q * dL/dq the
/// gradient to the student's logits is c - q * sum c.
template <class Direction, class Reduction>
struct SkewKl {
  double alpha = 0.1;  ///< share of the divergence's first distribution in the mixture, in [0, 1)
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true};
  static constexpr const char* name = Direction::name;

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
    return {a.value + Direction::term(alpha, c), a.pull + Direction::pull(alpha, c)};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.value + b.value, a.pull + b.pull};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>&) const {
    return T(weight) * a.value;
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(Acc<T> a, const BasicCell<V>& c) const {
    return {T(weight), Direction::pull(alpha, c) - c.student.p * V(a.pull)};
  }
};

/// KL(p || alpha * p + (1 - alpha) * q), p the teacher's, q the student's distribution. alpha = 0 is the forward KL.
template <class Reduction>
using SkewForwardKl = SkewKl<detail::TeacherFirst, Reduction>;
/// KL(q || (1 - alpha) * p + alpha * q). alpha = 0 is the reverse KL.
template <class Reduction>
using SkewReverseKl = SkewKl<detail::StudentFirst, Reduction>;

}  // namespace retort::loss
