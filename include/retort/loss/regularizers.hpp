#pragma once
// Teachers of no data: row losses that look at labels or at the student alone. Label smoothing is a member of CrossEntropy.

#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

/// Confidence penalty (Pereyra et al. 2017, "Regularizing Neural Networks by Penalizing Confident Output Distributions"):
/// minus the entropy, sum p log p, at temperature one. Weight 0.1 in the paper's image experiments.
/// Gradient per row: p * (log p - sum p log p).
template <class Reduction>
struct ConfidencePenalty {
  double weight = 0.1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.student_softmax = true};
  static constexpr const char* name = "ConfidencePenalty";

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
    return {a.sum + c.student.p * c.student.log_p};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.sum + b.sum};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a) const {
    return T(weight) * a.sum;
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(Acc<T> a, const BasicCell<V>& c) const {
    return {T(weight), c.student.p * (c.student.log_p - V(a.sum))};
  }
};

namespace detail {
/// softmax of a row that is `gap` at the label and 0 elsewhere.
template <class T>
struct OneRaised {
  T label, other;
  RETORT_HD static OneRaised of(T gap, std::int64_t classes) {
    const T low = std::exp(-gap), total = T(1) + T(classes - 1) * low;
    return {T(1) / total, low / total};
  }
  /// KL(this || the student's softmax).
  RETORT_HD T divergence(const Row<T>& row) const {
    const T n = T(row.classes), own = other > T(0) ? (n - T(1)) * other * std::log(other) : T(0);
    return label * std::log(label) + own - other * n * row.student.mean_log_p - (label - other) * row.student.log_p_label;
  }
  /// Its derivative by the student's logits.
  template <class V>
  RETORT_HD V pull(const BasicCell<V>& c) const {
    using namespace math;
    return c.student.p - select(c.is_label, V(label), V(other));
  }
};
}  // namespace detail

/// The virtual teacher of Tf-KD (Yuan et al. 2020, "Revisiting Knowledge Distillation via Label Smoothing Regularization"):
/// KL(p^d_T || p_T(s)), where p^d gives `correct` to the label, the rest evenly to the others, and p^d_T is p^d at
/// temperature T (its logarithm divided by T); times T^2 if so named. Gradient per row: factor/T * (p_T(s) - p^d_T).
template <class Reduction = retort::detail::Unnamed, class TemperatureFactor = retort::detail::Unnamed>
struct VirtualTeacher {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  static_assert(TemperatureFactorPolicy<TemperatureFactor>, RETORT_TEMPERATURE_FACTOR_MESSAGE);
  double temperature = 20;  ///< > 0
  double correct = 0.95;    ///< probability of the label, in (1/C, 1)
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.labels = true, .student_softmax = true, .mean_log_p = true};
  static constexpr int temperature_power = TemperatureFactor::power;
  static constexpr const char* name = "VirtualTeacher";

  template <class T>
  RETORT_HD detail::OneRaised<T> prepare(const Row<T>& row) const {
    return detail::OneRaised<T>::of(T(std::log(correct / (1 - correct) * double(row.classes - 1))) / row.temperature, row.classes);
  }
  template <class T>
  RETORT_HD T value(detail::OneRaised<T> target, const Row<T>& row) const {
    return scale(row) * target.divergence(row);
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(detail::OneRaised<T> target, const BasicCell<V>& c) const {
    return {scale(c.row) / c.row.temperature, target.pull(c)};
  }

 private:
  template <class T>
  RETORT_HD T scale(const Row<T>& row) const {
    return T(weight) * detail::temperature_factor<TemperatureFactor>(row.temperature);
  }
};

/// The same as the authors' code has it: the probabilities p^d, not their logarithms, are divided by T, which makes the
/// target all but uniform, and the student is not tempered. Their reduction is ElementMean, their weight 100 * alpha.
template <class Reduction>
struct VirtualTeacherAsPublished {
  double target_temperature = 20;  ///< > 0
  double correct = 0.99;
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.labels = true, .student_softmax = true, .mean_log_p = true};
  static constexpr const char* name = "VirtualTeacherAsPublished";

  template <class T>
  RETORT_HD detail::OneRaised<T> prepare(const Row<T>& row) const {
    return detail::OneRaised<T>::of(T((correct - (1 - correct) / double(row.classes - 1)) / target_temperature), row.classes);
  }
  template <class T>
  RETORT_HD T value(detail::OneRaised<T> target, const Row<T>& row) const {
    return T(weight) * target.divergence(row);
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(detail::OneRaised<T> target, const BasicCell<V>& c) const {
    return {T(weight), target.pull(c)};
  }
};

}  // namespace retort::loss
