#pragma once

#include <retort/loss/logit_distance.hpp>
#include <retort/method/distiller.hpp>
#include <retort/source/generator.hpp>

namespace retort {

/// An adversarial generator with the mean absolute distance of the logits both ways, whose gradient does not vanish where
/// the two networks agree; 1:5 steps. Fang et al. 2019, "Data-Free Adversarial Distillation".
template <class T, class S, class G, class B = Cpu>
using Dfad = Distiller<teacher_slot<T, B>, student_slot<S, B>, loss::LogitL1<ElementMean>, censor::None,
                       source::Generator<G, source::Objective<source::Adversarial<loss::LogitL1<ElementMean>>>, B>, predict::StudentOnly, B>;

}  // namespace retort
