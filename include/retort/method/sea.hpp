#pragma once
// Component retort::eigen: the projection is a PCA.

#include <retort/loss/logit_distance.hpp>
#include <retort/method/distiller.hpp>
#include <retort/projection/pca.hpp>
#include <retort/student/pruned.hpp>
#include <retort/teacher/embedding.hpp>

namespace retort {

/// Specialised embedding approximation (Srivastava et al., ICASSP 2021): on unlabelled data of the domain where it will run,
/// a small student regresses the teacher's projected embedding, min ||s(x) - phi(t(x))||^2 (the mean over entries and batch).
/// `Tag`: the tap that is the teacher's embedding, void for its result. Judge the student by a probe. Example: examples/sea_audio.cpp.
template <class T, class S, class Phi = projection::StandardizedPca, class Sampler = sample::Uniform, class Tag = void, class B = Cpu>
using Sea = Distiller<teacher::Embedding<teacher_slot<T, B>, Phi, Sampler, Tag>, student_slot<S, B>, loss::LogitMse<ElementMean>,
                      censor::None, source::Dataset, predict::StudentOnly, B>;

/// EdgeL3 (Kumari et al., IPDPSW 2019): a copy of the teacher without its smallest weights wins its embedding back, masks kept.
template <class T, class B = Cpu>
using EdgeL3 = Distiller<teacher::Embedding<teacher_slot<T, B>>, student::Pruned<T, B>, loss::LogitMse<ElementMean>, censor::None,
                         source::Dataset, predict::StudentOnly, B>;

}  // namespace retort
