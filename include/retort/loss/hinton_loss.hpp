#pragma once

#include <retort/loss/combine.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

/// Soft targets plus hard labels (Hinton, Vinyals & Dean 2015), with the weights of the CIFAR recipes:
/// 0.9 * T^2 * KL(p_T(t) || p_T(s)) + 0.1 * CE(s, y), T = 4. The two weights are independent of each other. A part that is given
/// is given as a whole: `{.soft = {.temperature = 2}}` has weight 1.
struct HintonLoss {
  SoftTargets soft{.temperature = 4, .weight = 0.9};
  CrossEntropy<BatchMean> hard{.weight = 0.1};

  constexpr auto terms() const { return Sum{soft, hard}; }
};

}  // namespace retort::loss
