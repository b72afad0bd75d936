#pragma once
// Losses among the outputs of one network that has several: peers (nn::Cohort) and shallow classifiers (nn::Branch). Methods
// without a teacher: put them into LabelsOnly<Net>::with_loss<...>.

#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/feature.hpp>
#include <retort/loss/forward_kl.hpp>

namespace retort::loss {

/// Tags as a list.
template <class... T>
struct TagList {};

namespace detail {
/// A row loss between two variables of an exchange; the second is a constant.
template <class Loss, class E, class V>
auto between(const Loss& loss, E& exchange, V student, V teacher) {
  return row_loss(exchange.tape, loss,
                  RowLossInputs<typename V::value_type>{.student = student, .teacher = exchange.tape.detach(teacher), .labels = exchange.labels,
                                                        .mask = exchange.mask, .weights = exchange.weights});
}
}  // namespace detail

/// Deep mutual learning (Zhang et al. 2018, DML): for each of M peers, CE_i + weight / (M - 1) sum_{j != i} KL(p_j || p_i) at
/// `temperature` (times T^2), the others constant, all peers in one step. `Logits`: tags of the peers' logits,
/// nn::member<0> ... of an nn::Cohort.
template <class... Logits>
struct MutualLearning {
  static_assert(sizeof...(Logits) >= 2, "retort: MutualLearning needs the tags of the logits of two peers or more");
  double weight = 1;
  double temperature = 1;  ///< > 0

  template <class E>
  auto evaluate(E& exchange) const {
    const std::array all{tap<Logits>(exchange.student)...};
    const Sum<CrossEntropy<BatchMean>, SoftTargets> both{CrossEntropy<BatchMean>{}, SoftTargets{.temperature = temperature, .weight = weight / (all.size() - 1)}};
    std::remove_cvref_t<decltype(detail::between(both, exchange, all[0], all[0]))> total{};
    for (std::size_t i = 0; i < all.size(); ++i) {
      bool labelled = false;  // the hard labels once per peer
      for (std::size_t j = 0; j < all.size(); ++j) {
        if (j == i) continue;
        const auto term = labelled ? detail::between(both.rest, exchange, all[i], all[j]) : detail::between(both, exchange, all[i], all[j]);
        total = total.value.data ? add(exchange.tape, total, term) : term;
        labelled = true;
      }
    }
    return total;
  }
};

/// Be your own teacher (Zhang et al. 2019, BYOT): the network's own result teaches its shallow classifiers,
/// CE(z) + sum_i [(1 - alpha) CE(z_i) + alpha T^2 KL(p_T(z) || p_T(z_i)) + hint ||f_i - f||^2 / N]. `Shallow`: TagList of the
/// shallow logits (nn::Branch); `Features`: TagList of their features, the deepest feature last, all of one shape, or none.
template <class Shallow, class Features = TagList<>>
struct OwnTeacher;
template <class... Shallow, class... Features>
struct OwnTeacher<TagList<Shallow...>, TagList<Features...>> {
  static_assert(sizeof...(Shallow) >= 1, "retort: OwnTeacher needs the tags of the shallow classifiers' logits");
  double alpha = 0.1;      ///< in [0, 1]
  double temperature = 3;  ///< > 0
  double hint = 1e-6;

  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    const auto deep = result_of(exchange.student);
    using T = typename decltype(deep)::value_type;
    const Sum shallow{CrossEntropy<BatchMean>{.weight = 1 - alpha}, SoftTargets{.temperature = temperature, .weight = alpha}};
    auto total = detail::between(CrossEntropy<BatchMean>{}, exchange, deep, deep);
    ((total = add(tape, total, detail::between(shallow, exchange, tap<Shallow>(exchange.student), deep))), ...);
    if constexpr (sizeof...(Features) >= 2) {
      const std::array features{flatten(tape, feature_of(tap<Features>(exchange.student)))...};
      const auto last = tape.detach(features.back());
      for (std::size_t i = 0; i + 1 < features.size(); ++i) {
        detail::require_same_shape("loss::OwnTeacher", features[i], last);
        const auto d = subtract(tape, features[i], last);
        total = add(tape, total, scale(tape, static_cast<T>(hint / static_cast<double>(last.extent(0))), sum(tape, multiply(tape, d, d))));
      }
    }
    return total;
  }
};

}  // namespace retort::loss
