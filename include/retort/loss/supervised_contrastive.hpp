#pragma once

#include <retort/loss/relational.hpp>
#include <retort/loss/soft_cross_entropy.hpp>

namespace retort::loss {

/// How SupervisedContrastive adds up its anchors: as published, or so that the learning rate does not depend on the batch.
struct SumOverAnchors {};
struct MeanOverAnchors {};  ///< over those that have a positive

/// Supervised contrastive loss (Khosla et al. 2020) of the result's rows, scaled to norm 1: with P(i) the other samples of i's
/// label, sum_i -1/|P(i)| sum_{p in P(i)} log softmax_{a != i}(z_i.z_a / temperature)_p. Both sides of a product learn. Anchors
/// without a positive do not count; a batch without any has value and gradient 0. Needs labels (shape_error); the network's
/// result is the embedding. ReAugKD trains its projection by it: see teacher/projected.hpp.
template <class Reduction = SumOverAnchors>
struct SupervisedContrastive {
  static_assert(std::is_same_v<Reduction, SumOverAnchors> || std::is_same_v<Reduction, MeanOverAnchors>,
                "retort: loss::SupervisedContrastive takes loss::SumOverAnchors or loss::MeanOverAnchors; see retort/loss/supervised_contrastive.hpp");
  double temperature = 0.1;  ///< > 0
  double weight = 1;

  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> rows, View<const std::int32_t, 1> classes) const {
    const index_t n = rows.extent(0);
    const auto labels = tape.on_host(classes);
    require<shape_error>(labels.size() == n, "loss::SupervisedContrastive: expected ", n, " labels, got ", labels.size());
    require<value_error>(temperature > 0, "loss::SupervisedContrastive: expected a temperature above 0, got ", temperature);
    index_t anchors = 0;
    const View<T, 1> counts = tape.from_host(Shape<1>{n}, [&](View<T, 1> to) {  // 1: the anchor has a positive
      for (index_t i = 0; i < n; ++i) {
        bool any = false;
        for (index_t j = 0; j < n && !any; ++j) any = j != i && labels.data[i] == labels.data[j];
        to(i) = any ? T(1) : T(0);
        anchors += any;
      }
    });
    if (anchors == 0) return scale(tape, T(0), sum(tape, rows));
    const auto z = normalized(tape, rows, 1);
    const T off = detail::withheld<T>(temperature);
    const auto apart = detail::pair_constant(tape, n, [=](index_t i, index_t j) { return i == j ? off : T(0); });
    const auto positives = detail::pair_constant(tape, n, [=](index_t i, index_t j) { return i != j && labels.data[i] == labels.data[j] ? T(0) : off; });
    const auto scores = add(tape, matmul_transposed(tape, z, z), apart);
    const double factor = std::is_same_v<Reduction, SumOverAnchors> ? static_cast<double>(n) : static_cast<double>(n) / static_cast<double>(anchors);
    return row_loss(tape, SoftCrossEntropy<BatchMean, NoTSquared>{.temperature = temperature, .weight = weight * factor},
                    RowLossInputs<T>{.student = scores, .teacher = positives, .weights = counts});
  }
  template <class E>
  auto evaluate(E& exchange) const {
    return (*this)(exchange.tape, flatten(exchange.tape, result_of(exchange.student)), exchange.labels);
  }
};

}  // namespace retort::loss
