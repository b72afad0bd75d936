#pragma once
// The arms of BGNN's experiments: one chain type whose parts are chosen at run time, so that one compilation serves all.

#include <retort/loss/local_structure.hpp>
#include <retort/method/bgnn.hpp>

#include "disk/experiment.hpp"

namespace experiment {

/// Boosting, or not.
struct MaybeBoost {
  int code = 0;  ///< 0: none, 1: one-hot, 2: signed
  double least = boost::SammeR<>{}.least;
  template <class T>
  void update(std::span<float> weights, View<const T, 2> logits, std::span<const std::int32_t> labels) const {
    if (code == 1) boost::SammeR<boost::OneHotCode>{least}.update(weights, logits, labels);
    if (code == 2) boost::SammeR<boost::SignedCode>{least}.update(weights, logits, labels);
  }
  std::string describe() const { return "boosting by choice"; }
};

using AdaptiveCe = loss::AdaptiveTemperature<loss::SoftCrossEntropy<BatchMean, loss::NoTSquared>>;
using AdaptiveKl = loss::AdaptiveTemperature<loss::ForwardKl<BatchMean, loss::NoTSquared>>;
using Knowledge = loss::OneOf<loss::SoftTargets, AdaptiveCe, AdaptiveKl>;
template <class... Nets>
using AnyChain = Chain<Knowledge, MaybeBoost, Cpu, Nets...>;

struct Arm {
  std::string name;
  std::size_t knowledge;  ///< position in Knowledge
  int code;
};
inline std::vector<Arm> arms() {
  return {{"fixed T = 4", 0, 0}, {"+ tau (CE)", 1, 0}, {"+ tau (KL)", 2, 0}, {"+ w", 0, 1}, {"BGNN (CE, w)", 1, 1}, {"BGNN (KL, w)", 2, 1}};
}
/// The knowledge loss of an arm, times lambda.
inline Knowledge knowledge_of(const Arm& arm, double lambda) {
  Knowledge k(loss::SoftTargets{.temperature = 4, .weight = lambda}, AdaptiveCe{}, AdaptiveKl{});
  get<1>(k.losses).inner.weight = lambda;
  get<2>(k.losses).inner.weight = lambda;
  k.chosen = arm.knowledge;
  return k;
}

}  // namespace experiment
