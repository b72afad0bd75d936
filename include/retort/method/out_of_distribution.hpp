#pragma once

#include <retort/loss/kl_mean.hpp>
#include <retort/method/distiller.hpp>
#include <retort/source/out_of_distribution.hpp>
#include <retort/source/patches.hpp>

namespace retort {

/// Distillation on images that have nothing to do with the task, e.g. patches of one photograph, mixed by CutMix:
/// KL(p_8(T(x)) || p_8(S(x))) / C without T^2; set the loss to `{.temperature = 8}`. Asano & Saeed 2023, "The Augmented Image
/// Prior: Distilling 1000 Classes by Extrapolating from a Single Image". Example: examples/data_free.cpp.
template <class T, class S, class B = Cpu>
using OutOfDistributionKd = Distiller<teacher_slot<T, B>, student_slot<S, B>, loss::KlMean, censor::None, source::OutOfDistribution,
                                      predict::StudentOnly, B>;

}  // namespace retort
