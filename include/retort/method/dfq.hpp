#pragma once

#include <retort/loss/kl_mean.hpp>
#include <retort/method/distiller.hpp>
#include <retort/source/generator.hpp>

namespace retort {

/// An adversarial generator that also matches the teacher's batch-norm statistics, its certainty and the spread over classes:
/// -KL_batch + L_bn + CE(T(x), argmax) + 20 sum p log p; the student learns by KlBatch at T = 1, 1:10 steps.
/// Choi et al. 2020, "Data-Free Network Quantization With Adversarial Knowledge Distillation".
template <class T, class S, class G, class B = Cpu>
using Dfq = Distiller<teacher_slot<T, B>, student_slot<S, B>, loss::KlBatch, censor::None,
                      source::Generator<G, source::Objective<source::Adversarial<loss::KlBatch>, source::BnStatistics, source::OneHot, source::Balance>, B>,
                      predict::StudentOnly, B>;

}  // namespace retort
