#pragma once

#include <retort/loss/kl_mean.hpp>
#include <retort/method/distiller.hpp>
#include <retort/source/generator.hpp>

namespace retort {

/// A generator of images that the teacher is sure of, that fire its features (tap `Feature`) and that spread over the classes:
/// CE(T(x), argmax) - 0.001 mean |f_T| + 20 sum p log p; the student learns by KlBatch at T = 1, 1:5 steps.
/// Chen et al. 2019, "Data-Free Learning of Student Networks".
template <class T, class S, class G, class Feature, class B = Cpu>
using Dafl = Distiller<teacher_slot<T, B>, student_slot<S, B>, loss::KlBatch, censor::None,
                       source::Generator<G, source::Objective<source::OneHot, source::Activation<Feature>, source::Balance>, B>,
                       predict::StudentOnly, B>;

}  // namespace retort
