#pragma once

#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

// Two reductions of the same divergence that data-free papers tell apart by their code alone. At equal temperature T and
// for C classes KlBatch = T^2 * C * KlMean; exchanging them changes a method.

/// KL(p_T(t) || p_T(s)) averaged over rows *and* classes, without T^2: ZSKT, one-image distillation, ABD's vaccine.
using KlMean = ForwardKl<ElementMean, NoTSquared>;

/// T^2 / N * sum_n KL: DAFL, DFQ, DeepInversion and CMI as published with the DataFree code. The classic SoftTargets.
using KlBatch = ForwardKl<BatchMean, TSquared>;

}  // namespace retort::loss
