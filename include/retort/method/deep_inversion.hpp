#pragma once

#include <retort/loss/kl_mean.hpp>
#include <retort/method/distiller.hpp>
#include <retort/source/inversion.hpp>

namespace retort {

/// 10 L_bn + CE(T(x), y) + 1e-3 TV - JS(S, T): what DeepInversion's images go down.
struct DeepInversionObjective : source::Objective<source::BnStatistics, source::OneHot, source::TotalVariation, source::AdversarialMixture> {
  DeepInversionObjective() : Objective{{source::BnStatistics{.weight = 10}, {}, {}, {}}} {}
};

/// Images are inverted from the teacher pixel by pixel, by its batch-norm statistics, its confidence in drawn targets and the
/// student's disagreement; the student learns from the pool of them, T^2 KL(T || S) at T = 20 (set `.temperature = 20`).
/// Yin et al. 2020, "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion". Example: benchmarks/data_free/fashion.cpp.
template <class T, class S, class B = Cpu>
using DeepInversion = Distiller<teacher_slot<T, B>, student_slot<S, B>, loss::KlBatch, censor::None,
                                rebound<source::Inversion<DeepInversionObjective>, B>, predict::StudentOnly, B>;

}  // namespace retort
