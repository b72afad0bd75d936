#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss {

/// The factor T^2 that keeps the size of a soft-target gradient independent of the temperature (Hinton et al. 2015).
struct TSquared {
  static constexpr int power = 2;
};
/// No factor: the gradient shrinks as 1/T.
struct NoTSquared {
  static constexpr int power = 0;
};

/// Whether a tempered divergence carries T^2: one of the two above.
template <class F>
concept TemperatureFactorPolicy = std::is_same_v<F, TSquared> || std::is_same_v<F, NoTSquared>;
#define RETORT_TEMPERATURE_FACTOR_MESSAGE                                                                                   \
  "retort: a divergence names its temperature factor, for which there is no default: loss::TSquared (Hinton's soft targets) " \
  "or loss::NoTSquared; see retort/loss/forward_kl.hpp"

/// There is no KL divergence without a direction: this name only says so.
template <class... Named>
struct KlDivergence {
  static_assert(sizeof...(Named) > 1000, "retort: a KL divergence names its direction: loss::ForwardKl is KL(teacher || student), the usual soft "
                                         "targets, loss::ReverseKl is KL(student || teacher); see retort/loss/forward_kl.hpp");
};

namespace detail {
template <class TemperatureFactor, class T>
RETORT_HD T temperature_factor(T temperature) {
  return TemperatureFactor::power == 2 ? temperature * temperature : T(1);
}
}  // namespace detail

/// KL(p_T(t) || p_T(s)), the teacher's entropy included, with p_T(z) = softmax(z / T); times T^2 if so named.
/// Gradient per row: factor/T * (p_T(s) - p_T(t)) to the student.
template <class Reduction = retort::detail::Unnamed, class TemperatureFactor = retort::detail::Unnamed>
struct ForwardKl {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  static_assert(TemperatureFactorPolicy<TemperatureFactor>, RETORT_TEMPERATURE_FACTOR_MESSAGE);
  double temperature = 1;  ///< > 0
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true, .forward_kl = true};
  static constexpr int temperature_power = TemperatureFactor::power;
  static constexpr const char* name = "ForwardKl";

  template <class T>
  RETORT_HD T value(const Row<T>& row) const {
    return scale(row) * row.forward_kl;
  }
  template <class V>
  RETORT_HD RowScaled<V> grad(const BasicCell<V>& c) const {
    return {scale(c.row) / c.row.temperature, c.student.p - c.teacher.p};
  }
  template <class V>
  RETORT_HD V teacher_grad(const BasicCell<V>& c) const {
    return V(scale(c.row) / c.row.temperature) * c.teacher.p * (c.teacher.log_p - c.student.log_p - V(c.row.forward_kl));
  }

 private:
  template <class T>
  RETORT_HD T scale(const Row<T>& row) const {
    return T(weight) * detail::temperature_factor<TemperatureFactor>(row.temperature);
  }
};

/// The soft targets of Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network":
/// T^2/N * sum_n KL(p_T(t_n) || p_T(s_n)).
using SoftTargets = ForwardKl<BatchMean, TSquared>;

}  // namespace retort::loss
