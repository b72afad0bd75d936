#pragma once

#include <retort/censor/discriminators.hpp>
#include <retort/fair/metrics.hpp>
#include <retort/fair/proxy.hpp>
#include <retort/loss/graph_knowledge.hpp>
#include <retort/method/hinton.hpp>
#include <retort/nn/graph/plp.hpp>
#include <retort/source/graph.hpp>
#include <retort/teacher/cached.hpp>

namespace retort {

/// CPF: a student of label propagation and features (nn::graph::Plp, or any other) follows the teacher's probabilities on the nodes
/// that are not trained on: sqrt(sum |softmax(s) - softmax(t)|^2). Yang et al. 2021, "Extract the Knowledge of Graph Neural
/// Networks and Go Beyond it". Example: examples/fair_graph.cpp.
template <class T, class S, class B = Cpu>
using Cpf = typename Hinton<teacher::Cached<teacher_slot<T, B>>, S, B>::template with_loss<loss::CpfKnowledge>;

/// GraphAKD: CE(s, y) + |log s - log t| / n, and discriminators of logits, edges and the graph that the student has to fool; both
/// networks have a tap `Tag` of one width. He et al. 2022, "Compressing Deep Graph Neural Networks via Adversarial Knowledge
/// Distillation". Tested in tests/graph/reliant_test.cpp.
template <class T, class S, class Tag, class B = Cpu>
using GraphAkd = typename Hinton<T, S, B>::template with_loss<loss::GraphAkdKnowledge>::template with_censor<censor::Discriminators<Tag, Tag, B>>;

namespace detail {
/// Over which nodes the gap of a framework is measured: its loss says so.
template <class Loss>
struct gap_rows {
  static_assert(sizeof(Loss) == 0, "retort: Reliant and PenaltyOnly take a framework over a graph whose loss names the nodes that count, `student_rows` and "
                                   "`player_rows`: Cpf, GraphAkd or one of your own; a table is a NodeDataset without edges; see retort/loss/graph_knowledge.hpp");
  using student = fair::AllRows;
  using player = fair::AllRows;
};
template <class Loss>
  requires requires {
    typename Loss::student_rows;
    typename Loss::player_rows;
  }
struct gap_rows<Loss> {
  using student = typename Loss::student_rows;
  using player = typename Loss::player_rows;
};
}  // namespace detail

/// RELIANT: a framework (Cpf, GraphAkd) whose student learns the framework's loss + alpha J, J the gap between the groups, while a
/// proxy of bias maximises J in columns of its own, which all nodes share at test time: see fair::ProxyPlayer.
/// Dong et al. 2023, "RELIANT: Fair Knowledge Distillation for Graph Neural Networks". Example: examples/fair_graph.cpp.
template <class F, class Notion = fair::StatisticalParity, class Squash = fair::LegendreRaw>
using Reliant = typename F::template with_student<fair::ProxyPlayer<typename F::student::network_type::architecture_type, typename detail::gap_rows<typename F::loss>::player, typename F::backend>>
                          ::template with_loss<loss::Joint<typename F::loss, fair::GroupGap<Squash, Notion, typename detail::gap_rows<typename F::loss>::student>>>;

/// What RELIANT's public code does otherwise than the defaults here, each a value or type to hand to its part: the proxy takes the
/// place of the last two features (CPF), equal opportunity is measured by the labels of all nodes, and GraphAKD compares the
/// student's raw logits with the teacher's log-probabilities and selects its epoch with dropout on. Its un-squared distance of
/// CPF is the default here too, since the published alpha belongs to it. Run by benchmarks/graph/fair.cpp, `faithful=1`.
struct Faithful {
  static constexpr nn::ProxyPlace cpf_place = nn::ProxyPlace::replace;
  static constexpr loss::CpfKnowledge cpf{.mean_square = false};
  static constexpr loss::GraphAkdKnowledge graph_akd{.raw_student = true};
  static constexpr bool graph_akd_selects_with_dropout = true;
  static constexpr double cpf_alpha = 1000, graph_akd_alpha = 10;
  using EqualOpportunity = fair::LeakedOpportunity;
};

/// The control: the same penalty, no proxy.
template <class F, class Notion = fair::StatisticalParity, class Squash = fair::LegendreRaw>
using PenaltyOnly = typename F::template with_loss<loss::Joint<typename F::loss, fair::GroupGap<Squash, Notion, typename detail::gap_rows<typename F::loss>::student>>>;

}  // namespace retort
