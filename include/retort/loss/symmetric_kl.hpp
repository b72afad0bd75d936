#pragma once

#include <retort/loss/combine.hpp>
#include <retort/loss/reverse_kl.hpp>

namespace retort::loss {

/// (1 - lambda) * KL(p || q) + lambda * KL(q || p), p the teacher's, q the student's distribution at temperature T (times
/// T^2 if so named): mass-covering and mode-seeking at once. lambda 0.5 in torchtune, 0.9 in DistiLLM (Ko et al. 2024).
template <class Reduction = retort::detail::Unnamed, class TemperatureFactor = retort::detail::Unnamed>
struct SymmetricKl {
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  static_assert(TemperatureFactorPolicy<TemperatureFactor>, RETORT_TEMPERATURE_FACTOR_MESSAGE);
  double temperature = 1;  ///< > 0
  double lambda = 0.5;     ///< share of the reverse divergence
  double weight = 1;

  constexpr auto terms() const {
    return Sum{ForwardKl<Reduction, TemperatureFactor>{.temperature = temperature, .weight = weight * (1 - lambda)},
               ReverseKl<Reduction, TemperatureFactor>{.temperature = temperature, .weight = weight * lambda}};
  }
};

}  // namespace retort::loss
