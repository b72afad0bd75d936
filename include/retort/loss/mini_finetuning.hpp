#pragma once

#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

/// Minifinetuning (MFT, as in NVIDIA's Model-Optimizer): KL(p' || q) to a teacher that is corrected towards the label,
/// p' = (1 - lambda) p + lambda onehot(y), so that the label leads by `threshold`; times T^2 if so named. With a the
/// teacher's most likely class: lambda = (p_a - p_y + threshold) / (1 + p_a - p_y + 1e-7) where it is wrong, else
/// (min(1, p_y + threshold) - p_y) / (1 - p_y + 1e-7). Gradient per row: factor/T * (q - p').
template <class Reduction = retort::detail::Unnamed, class TemperatureFactor = retort::detail::Unnamed>
struct MiniFineTuning {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  static_assert(TemperatureFactorPolicy<TemperatureFactor>, RETORT_TEMPERATURE_FACTOR_MESSAGE);
  double temperature = 1;  ///< > 0
  double threshold = 0.2;  ///< in [0, 1]
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .labels = true, .student_softmax = true, .teacher_softmax = true};
  static constexpr int temperature_power = TemperatureFactor::power;
  static constexpr const char* name = "MiniFineTuning";

  /// Over the classes other than the label: sum p log(p / q), sum p, max p; behind finish(), `cross` is the divergence and
  /// `top` is lambda.
  template <class V>
  struct Acc {
    V cross, mass, top;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0), V(0), V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    using namespace math;
    const V p = select(c.is_label, V(0), c.teacher.p);
    return {a.cross + p * (c.teacher.log_p - c.student.log_p), a.mass + p, max(a.top, p)};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    using namespace math;
    return {a.cross + b.cross, a.mass + b.mass, max(a.top, b.top)};
  }
  template <class T>
  RETORT_HD Acc<T> finish(Acc<T> a, const Row<T>& row) const {
    const T py = std::exp(row.teacher.log_p_label), theta = T(threshold), tiny = T(1e-7);
    const T lambda = a.top > py ? (a.top - py + theta) / (T(1) + a.top - py + tiny)
                                : (math::min(T(1), py + theta) - py) / (T(1) - py + tiny);
    const T rest = math::max(T(1) - lambda, T(1e-30)), label = rest * py + lambda;
    const T log_label = label > T(0) ? std::log(label) : T(0);
    return {rest * (a.mass * std::log(rest) + a.cross) + label * (log_label - row.student.log_p_label), a.mass, lambda};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>& row) const {
    return scale(row) * a.cross;
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(Acc<T> a, const BasicCell<V>& c) const {
    using namespace math;
    const V target = V(T(1) - a.top) * c.teacher.p + select(c.is_label, V(a.top), V(T(0)));
    return {scale(c.row) / c.row.temperature, c.student.p - target};
  }

 private:
  template <class T>
  RETORT_HD T scale(const Row<T>& row) const {
    return T(weight) * detail::temperature_factor<TemperatureFactor>(row.temperature);
  }
};

}  // namespace retort::loss
