#pragma once
// The well-known methods on CIFAR and their like, one alias each. All are Hinton with another loss, student or source; tags
// name taps (those of the zoo, or your own); every number is a member of the loss, with its published default.

#include <retort/loss/contrastive.hpp>
#include <retort/loss/curriculum.hpp>
#include <retort/loss/decoupled.hpp>
#include <retort/loss/multi_level.hpp>
#include <retort/loss/peers.hpp>
#include <retort/loss/reuse.hpp>
#include <retort/loss/review.hpp>
#include <retort/method/hinton.hpp>
#include <retort/nn/reveal.hpp>
#include <retort/source/two_views.hpp>
#include <retort/student/two_channel.hpp>

namespace retort {

/// Cross-entropy beside another loss.
template <class Loss>
using WithLabels = loss::Joint<loss::CrossEntropy<BatchMean>, Loss>;

/// A hint in the middle: CE + 100 * MSE(regressor(F_s), F_t). Romero et al. 2015, "FitNets". Example: examples/compare_losses.cpp.
template <class T, class S, class Tag, class B = Cpu>
using FitNets = typename Hinton<T, S, B>::template with_loss<WithLabels<loss::OnTaps<loss::Hint, Tag, Tag, loss::connect::Regressor>>>;

/// The teacher's attention maps at every tap: CE + 1000 * sum |A_s - A_t|^2 (weight to be given). Zagoruyko & Komodakis 2017.
/// Example: examples/compare_losses.cpp.
template <class T, class S, class B, class... Tags>
using AttentionDistillation =
    typename Hinton<T, S, B>::template with_loss<WithLabels<loss::OnEachTap<loss::AttentionTransfer, loss::connect::None, Tags...>>>;

/// Target and non-target classes apart: CE + min(1, epoch/20) * T^2 (TCKD + 8 NCKD). Zhao et al. 2022. Example: compare_losses.
template <class T, class S, class B = Cpu>
using Dkd = typename Hinton<T, S, B>::template with_loss<WithLabels<loss::WarmUp<loss::DecoupledKd<BatchMean>>>>;

/// The sample against a bank of others: CE + 0.8 * NCE of both directions at the tap `Tag`. Tian et al. 2020, "Contrastive
/// Representation Distillation". Example: examples/compare_losses.cpp.
template <class T, class S, class Tag, class B = Cpu>
using Crd = typename Hinton<T, S, B>::template with_loss<WithLabels<loss::Contrastive<Tag>>>;

/// Each stage, fused with the deeper ones, answers to the teacher's: CE + min(1, epoch/20) * sum HCL; tags from the shallowest to
/// the pooled vector. Chen et al. 2021, "Distilling Knowledge via Knowledge Review". Example: examples/compare_losses.cpp.
template <class T, class S, class B, class... Tags>
using ReviewKd = typename Hinton<T, S, B>::template with_loss<WithLabels<loss::WarmUp<loss::KnowledgeReview<Tags...>>>>;

/// The teacher's classifier judges the student's features: CE + MSE(F_s, F_t) + 5 MSE(W F_s, t). Yang et al. 2021 (SRRL).
/// Example: examples/compare_losses.cpp.
template <class T, class S, class MapTag, class ClassifierTag, class B = Cpu>
using Srrl = typename Hinton<T, S, B>::template with_loss<WithLabels<loss::RegressionRepresentation<MapTag, ClassifierTag>>>;

/// Features alone, before a classifier that is the teacher's own: MSE(F_s, F_t); the student ends in nn::Fixed<nn::Linear> with
/// the teacher's weights. Chen et al. 2022 (SimKD). Tested in tests/feature/learned_state_test.cpp.
template <class T, class S, class Tag, class B = Cpu>
using SimKd = typename Hinton<T, S, B>::template with_loss<loss::OnTaps<loss::Hint, Tag>>;

/// A temperature that is learned against the student: 0.9 * T^2 KL beside 0.1 CE, T by gradient reversal. Li et al. 2023 (CTKD).
/// Example: examples/compare_losses.cpp.
template <class T, class S, class B = Cpu>
using Ctkd = typename Hinton<T, S, B>::template with_loss<WithLabels<loss::CurriculumTemperature<loss::SoftTargets>>>;

/// Samples, batches and classes at five temperatures on two views: see loss::MultiLevel. Jin et al. 2023 (MLLD). `Strong`: the
/// second view's augmentation; `Variant`: loss::MlldPaper or loss::MlldAsPublished.
template <class T, class S, class Strong, class Variant, class B = Cpu>
using Mlld = typename Hinton<T, S, B>::template with_source<source::TwoViews<Strong>>::template with_loss<loss::MultiLevel<Variant>>;

/// Soft targets whose gradient keeps a larger momentum than the task's: see student::TwoChannel. Zhao et al. 2023 (DOT). Give
/// `fit` an optim::Sgd without momentum. Tested in tests/feature/schemes_test.cpp.
template <class T, class S, class B = Cpu>
using Dot = Hinton<T, student::TwoChannel<S, B>, B>;

/// Two peers teach each other: CE_i + KL(p_j || p_i), j != i. Zhang et al. 2018, "Deep Mutual Learning". For more peers spell out
/// loss::MutualLearning. Tested in tests/feature/peers_test.cpp.
template <class First, class Second, class B = Cpu>
using Dml = typename LabelsOnly<nn::Cohort<First, Second>, B>::template with_loss<loss::MutualLearning<nn::member<0>, nn::member<1>>>;

/// The network's result teaches its shallow classifiers (nn::Branch): see loss::OwnTeacher. Zhang et al. 2019, "Be Your Own
/// Teacher". Tested in tests/feature/peers_test.cpp.
template <class S, class Shallow, class Features = loss::TagList<>, class B = Cpu>
using Byot = typename LabelsOnly<S, B>::template with_loss<loss::OwnTeacher<Shallow, Features>>;

}  // namespace retort
