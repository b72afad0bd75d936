#pragma once

#include <retort/censor/guide.hpp>
#include <retort/censor/guide_networks.hpp>
#include <retort/method/hinton.hpp>

namespace retort {

/// DiSK: the teacher scaffolds the student by censoring what is too hard. A guide, learned in alternation under a budget,
/// gives help g(x) in [0, 1]: T_s T_t sum_y -tt_y log(s_y + g) + CE(s, y) for the student, the hint plus
/// lambda max(0, B - delta) + c log(1 + K g) for the guide. The student alone answers.
/// Kag, Acar, Gangrade & Saligrama, "Scaffolding a Student to Instill Knowledge", ICLR 2023. Example: examples/disk.cpp.
template <class T, class S, class GuideNet, class Input = censor::TeacherLogits, class B = Cpu>
using Disk = typename Hinton<T, S, B>::template with_loss<loss::ScaffoldedSoftTargets>
                                     ::template with_censor<censor::Guide<GuideNet, Input>>;

/// DiSK as on the authors' poster: help on all classes, no partition term, the budget per sample on the true label.
template <class T, class S, class GuideNet, class Input = censor::TeacherLogits, class B = Cpu>
using DiskPoster = typename Hinton<T, S, B>::template with_loss<loss::ScaffoldedPoster>::template with_censor<
    censor::Guide<GuideNet, Input, censor::Penalty<censor::TrueLabel, censor::PerSample, censor::NoPartition>>>;

/// Variant 24 of the authors' code: the teacher's class is charged, the partition term is on the code's scale.
template <class T, class S, class GuideNet, class Input = censor::TeacherLogits, class B = Cpu>
using Disk24 = typename Hinton<T, S, B>::template with_loss<loss::ScaffoldedSoftTargets>::template with_censor<
    censor::Guide<GuideNet, Input, censor::Penalty<censor::TeacherArgmax, censor::PerError, censor::CodeScale>>>;

/// Variant 25, of the authors' code the closest to the poster: the true label is charged, no partition term.
template <class T, class S, class GuideNet, class Input = censor::TeacherLogits, class B = Cpu>
using Disk25 = typename Hinton<T, S, B>::template with_loss<loss::ScaffoldedSoftTargets>::template with_censor<
    censor::Guide<GuideNet, Input, censor::Penalty<censor::TrueLabel, censor::PerError, censor::NoPartition>>>;

}  // namespace retort
