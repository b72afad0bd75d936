#pragma once

#include <retort/loss/kl_mean.hpp>
#include <retort/method/distiller.hpp>
#include <retort/source/contrastive_inversion.hpp>

namespace retort {

/// Contrastive model inversion: images from a fresh generator each epoch that match the teacher's batch-norm statistics and
/// drawn targets, on which teacher and student still agree little, and that differ from all earlier images,
/// L_bn + CE(T(x), y) - 0.5 [agree] KL(T || S) + 0.8 L_cr; the student learns from the pool, T^2 KL(T || S) at T = 20 (set it).
/// Fang et al. 2021, "Contrastive Model Inversion for Data-Free Knowledge Distillation". Example: benchmarks/data_free/fashion.cpp.
template <class T, class S, class G, class B = Cpu>
using Cmi = Distiller<teacher_slot<T, B>, student_slot<S, B>, loss::KlBatch, censor::None,
                      rebound<source::ContrastiveInversion<G>, B>, predict::StudentOnly, B>;

}  // namespace retort
