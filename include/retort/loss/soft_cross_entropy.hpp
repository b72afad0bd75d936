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
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true};
  static constexpr int temperature_power = TemperatureFactor::power;
  static constexpr const char* name = "SoftCrossEntropy";

  template <class V>
  struct Acc {
    V sum;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    return {a.sum - c.teacher.p * c.student.log_p};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.sum + b.sum};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>& row) const {
    return scale(row) * a.sum;
  }
  template <class V, class T>
  RETORT_HD V grad(Acc<T>, const BasicCell<V>& c) const {
    return V(scale(c.row) / c.row.temperature) * (c.student.p - c.teacher.p);
  }
  template <class V, class T>
  RETORT_HD V teacher_grad(Acc<T> a, const BasicCell<V>& c) const {
    return V(-scale(c.row) / c.row.temperature) * c.teacher.p * (c.student.log_p + V(a.sum));
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
                                  .student_softmax_at_one = true, .teacher_softmax_at_one = true};
  static constexpr const char* name = "WeightedSoftLabels";

  template <class V>
  struct Acc {
    V sum, factor;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0), V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    return {a.sum - c.teacher.p * c.student.log_p, a.factor};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.sum + b.sum, V(0)};
  }
  template <class T>
  RETORT_HD Acc<T> finish(Acc<T> a, const Row<T>& row) const {
    return {a.sum, T(1) - std::exp(row.student_at_one.log_p_label / (T(1e-7) - row.teacher_at_one.log_p_label))};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>& row) const {
    return T(weight) * row.temperature * row.temperature * a.factor * a.sum;
  }
  template <class V, class T>
  RETORT_HD V grad(Acc<T> a, const BasicCell<V>& c) const {
    return V(T(weight) * c.row.temperature * a.factor) * (c.student.p - c.teacher.p);
  }
};

}  // namespace retort::loss
