#pragma once

#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

/// The generalised Jensen-Shannon divergence of GKD (Agarwal et al. 2024, "On-Policy Distillation of Language Models"):
/// beta * KL(p || M) + (1 - beta) * KL(q || M) with M = beta * p + (1 - beta) * q, p the teacher's and q the student's
/// probabilities at temperature T; times T^2 if so named. `beta` is the weight of the teacher in M, in (0, 1): the
/// limits are 0, not the two KL divergences, which are types of their own (ForwardKl, ReverseKl).
/// With r = (1 - beta) * q * (log q - log M) the gradient to the student is factor/T * (r - q * sum r).
template <class Reduction = retort::detail::Unnamed, class TemperatureFactor = retort::detail::Unnamed>
struct JensenShannon {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  static_assert(TemperatureFactorPolicy<TemperatureFactor>, RETORT_TEMPERATURE_FACTOR_MESSAGE);
  double temperature = 1;  ///< > 0
  double beta = 0.5;       ///< in (0, 1)
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true};
  static constexpr int temperature_power = TemperatureFactor::power;
  static constexpr const char* name = "JensenShannon";

  /// log M. Where both probabilities underflow, the clamp keeps it finite; its factor p or q is then as good as 0.
  template <class V>
  RETORT_HD V keep(const BasicCell<V>& c) const {
    using namespace math;
    using T = typename BasicCell<V>::scalar;
    return log(max(V(T(1e-37)), V(T(beta)) * c.teacher.p + V(T(1 - beta)) * c.student.p));
  }
  /// KL(q || M) and KL(p || M).
  template <class V>
  struct Acc {
    V student, teacher;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0), V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    return {a.student + c.student.p * (c.student.log_p - c.kept), a.teacher + c.teacher.p * (c.teacher.log_p - c.kept)};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.student + b.student, a.teacher + b.teacher};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>& row) const {
    return scale(row) * (T(beta) * a.teacher + T(1 - beta) * a.student);
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(Acc<T> a, const BasicCell<V>& c) const {
    return {T(1 - beta) * scale(c.row) / c.row.temperature, c.student.p * (c.student.log_p - c.kept - V(a.student))};
  }
  template <class V, class T>
  RETORT_HD V teacher_grad(Acc<T> a, const BasicCell<V>& c) const {
    return V(T(beta) * scale(c.row) / c.row.temperature) * c.teacher.p * (c.teacher.log_p - c.kept - V(a.teacher));
  }

 private:
  template <class T>
  RETORT_HD T scale(const Row<T>& row) const {
    return T(weight) * detail::temperature_factor<TemperatureFactor>(row.temperature);
  }
};

}  // namespace retort::loss
