#pragma once

#include <retort/loss/attention.hpp>
#include <retort/loss/kl_mean.hpp>
#include <retort/method/distiller.hpp>
#include <retort/source/generator.hpp>

namespace retort {

/// Zero-shot knowledge transfer: a generator seeks inputs on which student and teacher differ, the student learns to agree.
/// L_G = -KL(T(x) || S(x)) / C, L_S = KL(T(x) || S(x)) / C (+ attention, see ZsktWithAttention), one generator step to ten of
/// the student. Micaelli & Storkey 2019, "Zero-shot Knowledge Transfer via Adversarial Belief Matching". Example: examples/data_free.cpp.
template <class T, class S, class G, class B = Cpu>
using Zskt = Distiller<teacher_slot<T, B>, student_slot<S, B>, loss::KlMean, censor::None,
                       source::Generator<G, source::Objective<source::Adversarial<>>, B>, predict::StudentOnly, B>;

/// With the attention loss over the given feature taps of both networks: `loss::Joint{loss::KlMean{}, loss::Attention<...>{}}`.
template <class T, class S, class G, class B, class... Tags>
using ZsktWithAttention = typename Zskt<T, S, G, B>::template with_loss<loss::Joint<loss::KlMean, loss::Attention<Tags...>>>;

}  // namespace retort
