#pragma once

#include <retort/loss/hinton_loss.hpp>
#include <retort/method/distiller.hpp>
#include <retort/teacher/ensemble.hpp>
#include <retort/teacher/none.hpp>

namespace retort {

/// Soft targets beside hard labels: 0.9 * T^2 * KL(p_T(t) || p_T(s)) + 0.1 * CE(s, y).
/// Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network". Example: examples/quickstart.cpp.
template <class T, class S, class B = Cpu>
using Hinton = Distiller<teacher_slot<T, B>, student_slot<S, B>, loss::HintonLoss, censor::None, source::Dataset,
                         predict::StudentOnly, B>;

/// The labelled-only baseline through the same loop: CE(s, y), no teacher.
template <class S, class B = Cpu>
using LabelsOnly = Distiller<teacher::None, student_slot<S, B>, loss::CrossEntropy<BatchMean>, censor::None, source::Dataset,
                             predict::StudentOnly, B>;

/// Several teachers, averaged by a named policy (teacher::LogitMean or teacher::ProbabilityMean), as one Hinton teacher.
template <class Average, class S, class B, class... Ts>
using MultiTeacher = Hinton<teacher::Ensemble<Average, teacher_slot<Ts, B>...>, S, B>;

/// Born-again networks: a student of the teacher's own architecture; generations by `fit_generations`.
/// Furlanello et al. 2018, "Born Again Neural Networks".
template <class S, class B = Cpu>
using BornAgain = Hinton<S, S, B>;

}  // namespace retort
