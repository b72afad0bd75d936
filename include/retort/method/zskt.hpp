#pragma once

#include <retort/loss/feature.hpp>
#include <retort/loss/kl_mean.hpp>
#include <retort/method/distiller.hpp>
#include <retort/source/generator.hpp>

namespace retort {

/// Zero-shot knowledge transfer: a generator seeks inputs on which student and teacher differ, the student learns to agree.
/// L_G = -KL(T(x) || S(x)) / C, L_S = KL(T(x) || S(x)) / C (+ attention: ZsktWithAttention), one generator step to ten of
/// the student. Micaelli & Storkey 2019, "Zero-shot Knowledge Transfer via Adversarial Belief Matching". Example: examples/data_free.cpp.
template <class T, class S, class G, class B = Cpu>
using Zskt = Distiller<teacher_slot<T, B>, student_slot<S, B>, loss::KlMean, censor::None,
                       source::Generator<G, source::Objective<source::Adversarial<>>, B>, predict::StudentOnly, B>;

/// ZSKT with attention transfer over feature taps of both networks (the three stages of a WRN; about 2 % in the paper). The
/// loss is `loss::Joint{loss::KlMean{}, loss::OnTaps<loss::AttentionTransfer, Tag>{.weight = 250}...}`.
template <class T, class S, class G, class B, class... Tags>
using ZsktWithAttention =
    typename Zskt<T, S, G, B>::template with_loss<loss::Joint<loss::KlMean, loss::OnTaps<loss::AttentionTransfer, Tags>...>>;

/// ZSKT as the DataFree benchmark runs it: KlBatch both ways, usually with source::data_free_generator (latent 256), 1:5 steps.
template <class T, class S, class G, class B = Cpu>
using ZsktDataFree = typename Zskt<T, S, G, B>::template with_loss<loss::KlBatch>::template with_source<
    source::Generator<G, source::Objective<source::Adversarial<loss::KlBatch>>, B>>;

}  // namespace retort
