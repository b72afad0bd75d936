#pragma once

#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

/// -sum_c p_T(t)_c * log p_T(s)_c, the forward KL without the teacher's entropy (TextBrewer, DistiLLM, torchtune, BGNN);
/// times T^2 if so named. Same gradient to the student as ForwardKl, another value and temperature gradient.
template <class Reduction = retort::detail::Unnamed, class TemperatureFactor = retort::detail::Unnamed>
struct SoftCrossEntropy {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  static_assert(TemperatureFactorPolicy<TemperatureFactor>, RETORT_TEMPERATURE_FACTOR_MESSAGE);
  double temperature = 1;  ///< > 0
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true, .cross_entropy = true};
  static constexpr int temperature_power = TemperatureFactor::power;
  static constexpr const char* name = "SoftCrossEntropy";

  template <class T>
  RETORT_HD T value(const Row<T>& row) const {
    return scale(row) * row.cross_entropy;
  }
  template <class V>
  RETORT_HD RowScaled<V> grad(const BasicCell<V>& c) const {
    return {scale(c.row) / c.row.temperature, c.student.p - c.teacher.p};
  }
  template <class V>
  RETORT_HD V teacher_grad(const BasicCell<V>& c) const {
    return V(-scale(c.row) / c.row.temperature) * c.teacher.p * (c.student.log_p + V(c.row.cross_entropy));
  }

 private:
  template <class T>
  RETORT_HD T scale(const Row<T>& row) const {
    return T(weight) * detail::temperature_factor<TemperatureFactor>(row.temperature);
  }
};

/// Weighted soft labels (Zhou et al. 2021): T^2 * w * soft cross-entropy, w = 1 - exp(-CE(s, y) / (CE(t, y) + 1e-7)) at
/// temperature one, a constant for the gradient: samples that the student already fits better than the teacher count less.
template <class Reduction = retort::detail::Unnamed>
struct WeightedSoftLabels {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  double temperature = 4;  ///< > 0
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .labels = true, .student_softmax = true, .teacher_softmax = true,
                                  .cross_entropy = true, .label_at_one = true};
  static constexpr const char* name = "WeightedSoftLabels";

  /// weight * w.
  template <class T>
  RETORT_HD T prepare(const Row<T>& row) const {
    return T(weight) * (T(1) - std::exp(row.student_at_one.log_p_label / (T(1e-7) - row.teacher_at_one.log_p_label)));
  }
  template <class T>
  RETORT_HD T value(T w, const Row<T>& row) const {
    return w * row.temperature * row.temperature * row.cross_entropy;
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(T w, const BasicCell<V>& c) const {
    return {w * c.row.temperature, c.student.p - c.teacher.p};
  }
};

}  // namespace retort::loss
