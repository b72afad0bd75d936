#pragma once

#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

/// KL(p_T(s) || p_T(t)): mode-seeking, as used for language models (Gu et al. 2024, "MiniLLM"); times T^2 if so named.
/// Gradient per row: factor/T * p(s) * (log p(s) - log p(t) - KL) to the student, factor/T * (p(t) - p(s)) to the
/// teacher.
template <class Reduction = retort::detail::Unnamed, class TemperatureFactor = retort::detail::Unnamed>
struct ReverseKl {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  static_assert(TemperatureFactorPolicy<TemperatureFactor>, RETORT_TEMPERATURE_FACTOR_MESSAGE);
  double temperature = 1;  ///< > 0
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true, .reverse_kl = true};
  static constexpr int temperature_power = TemperatureFactor::power;
  static constexpr const char* name = "ReverseKl";

  template <class T>
  RETORT_HD T value(const Row<T>& row) const {
    return scale(row) * row.reverse_kl;
  }
  template <class V>
  RETORT_HD RowScaled<V> grad(const BasicCell<V>& c) const {
    return {scale(c.row) / c.row.temperature, c.student.p * (c.student.log_p - c.teacher.log_p - V(c.row.reverse_kl))};
  }
  template <class V>
  RETORT_HD V teacher_grad(const BasicCell<V>& c) const {
    return V(scale(c.row) / c.row.temperature) * (c.teacher.p - c.student.p);
  }

 private:
  template <class T>
  RETORT_HD T scale(const Row<T>& row) const {
    return T(weight) * detail::temperature_factor<TemperatureFactor>(row.temperature);
  }
};

}  // namespace retort::loss
