#pragma once

#include <retort/loss/combine.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/forward_kl.hpp>
#include <retort/method/hinton.hpp>

namespace retort {
namespace loss {

/// HintonLoss where some rows alone are labelled (nodes of a graph): soft targets on all rows, the mean over the labelled ones of
/// the cross-entropy: soft.weight T^2 KL(p_T(t) || p_T(s)) + hard.weight CE(s, y).
struct NodeHintonLoss {
  SoftTargets soft{.temperature = 4, .weight = 0.9};
  CrossEntropy<TokenMean> hard{.weight = 0.1};
  constexpr auto terms() const { return Sum{soft, hard}; }
};

}  // namespace loss

/// Labels alone on the training nodes of a graph (or on graphs): the mean of CE(s, y). Example: examples/boosted_graph.cpp.
template <class S, class B = Cpu>
using NodeClassifier = typename LabelsOnly<S, B>::template with_loss<loss::CrossEntropy<TokenMean>>;

/// Soft targets on all nodes beside labels on the training ones.
template <class T, class S, class B = Cpu>
using NodeHinton = typename Hinton<T, S, B>::template with_loss<loss::NodeHintonLoss>;

}  // namespace retort
