#pragma once

#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/relational.hpp>
#include <retort/loss/soft_cross_entropy.hpp>
#include <retort/predict/retrieval.hpp>
#include <retort/teacher/given.hpp>
#include <retort/teacher/projected.hpp>

namespace retort {
namespace loss {

/// What ReAugKD's student minimises: -sum_c yT_c log yS_c (and, with a weight, the labels' cross-entropy) beside weight times the
/// relational KL between the student's embeddings and the teacher's projected ones. `relation.weight` is the paper's alpha;
/// with 0 this is plain distillation, bit for bit.
template <class Tag, class Relation = RelationalKl<>>
struct Retrievable {
  SoftCrossEntropy<BatchMean, NoTSquared> soft{};
  CrossEntropy<BatchMean> hard{.weight = 0};
  OnTaps<Relation, Tag> relation{};

  template <class E>
  auto evaluate(E& exchange) const {
    const auto value = loss::evaluate(Sum{soft, hard}, exchange);
    return relation.weight == 0 ? value : add(exchange.tape, value, relation.evaluate(exchange));
  }
};

}  // namespace loss

/// ReAugKD: the student learns to query its teacher's embeddings, and answers together with what it finds there: y' = lambda yS
/// + (1 - lambda) sum_j w_j yT_j. Phases: a projection of the teacher's embeddings (supervised contrast), the knowledge base of
/// the training items, the student (CE to the soft labels + alpha KL(q || q')). A RECONSTRUCTION of Zhang et al., "ReAugKD",
/// ACL 2023: temperatures, KL form, targets and mixing are not checked against the paper. Example: examples/retrieval.cpp.
template <class T, class S, class Tag, class B = Cpu>
using ReAugKd = typename Hinton<teacher::Projected<teacher_slot<T, B>, Tag>, S, B>
    ::template with_loss<loss::Retrievable<Tag>>::template with_predictor<predict::Retrieval<Tag>>;

}  // namespace retort
