#pragma once
// What sources that make their batches by differentiating through the networks have in common.

#include <algorithm>
#include <retort/autograd/ops_statistics.hpp>
#include <retort/functor/elementary.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/evaluate.hpp>
#include <retort/loss/kl_mean.hpp>
#include <retort/method/roles.hpp>
#include <tuple>

namespace retort {

/// What a synthesis objective looks at: an Exchange whose `input` is the synthesised batch and wants a gradient, whose
/// `labels` are the targets (the teacher's own classes unless the source samples them), and what entered the teacher's
/// batch-norm layers. Any loss of the loss slot works on it.
template <class Base, class T>
struct SynthesisExchange : Base {
  BatchNormObserver<T>* statistics = nullptr;
};

namespace source {

/// Shows a synthesised batch to both networks and gives the exchange to the objective and then to `extra`, a defence's
/// term: `Var<T, 1> extra(exchange, value)`. The teacher is frozen; the student behaves as in training (batch statistics)
/// but does not learn. `targets` empty: the teacher's own classes.
template <class Method, class T, class B, class V, class Objective, class Extra>
Var<T, 1> synthesis_loss(Method& method, Tape<T, B>& tape, V images, View<const std::int32_t, 1> targets, BatchNormObserver<T>& observer,
                         const Progress& progress, const Rng& rng, const Objective& objective, const Extra& extra) {
  const Question<V> question{images, {}, Block::source};
  observer.seen.clear();
  auto frozen = Pass<T, B>::frozen(tape);
  frozen.observer = &observer;
  auto trained = Pass<T, B>::training(tape, rng.fork(1));
  trained.learn = false;
  auto t = method.teacher_policy().answer(frozen, question);
  auto s = method.student_policy().answer(trained, question);
  if (targets.empty()) {
    auto* classes = tape.template allocate_raw<std::int32_t>(images.extent(0));
    Kernels<B>::arg_max_rows(tape.backend(), result_of(t).value, classes);
    targets = {classes, {images.extent(0)}};
  }
  using Base = Exchange<T, B, V, decltype(s), decltype(t)>;
  SynthesisExchange<Base, T> exchange{
      Base{tape, images, targets, {}, s, t, {}, {}, {}, {}, Block::source, progress, rng.fork(2)}, &observer};
  return extra(exchange, loss::evaluate(objective, exchange));
}

/// No term beside the objective.
struct NoExtra {
  template <class E, class V>
  V operator()(E&, V value) const {
    return value;
  }
};

/// A weighted sum of terms, each a loss of the loss slot: `Objective<Adversarial<>, BnStatistics>{{{}, {.weight = 2}}}`.
template <class... Terms>
struct Objective {
  static_assert(sizeof...(Terms) >= 1, "retort: source::Objective needs at least one term; see retort/source/synthesis.hpp");
  std::tuple<Terms...> terms{};

  template <class E>
  auto evaluate(E& exchange) const {
    return std::apply(
        [&](const auto& first, const auto&... rest) {
          auto total = loss::evaluate(first, exchange);
          ((total = add(exchange.tape, total, loss::evaluate(rest, exchange))), ...);
          return total;
        },
        terms);
  }
};

/// -weight * Loss(S(x), T(x)): what the student minimises, the source maximises. Gradients reach x through both networks.
template <class Loss = loss::KlMean>
struct Adversarial {
  double weight = 1;
  Loss loss{};
  template <class E>
  auto evaluate(E& ex) const {
    return scale(ex.tape, -weight, loss::evaluate(loss, ex));
  }
};

/// Distance of the batch's statistics from the running ones, summed over every batch-norm input of the teacher (Yin et al.
/// 2020). Throws value_error when the teacher has no batch normalisation.
struct BnStatistics {
  double weight = 1;
  template <class E>
  auto evaluate(E& ex) const {
    const auto& seen = ex.statistics->seen;
    require<value_error>(!seen.empty(), "source::BnStatistics: the teacher has no batch-norm layer whose statistics the "
                         "batch could match; leave this term out or use a teacher with nn::BatchNorm");
    auto total = statistics_distance(ex.tape, seen[0].values, seen[0].mean, seen[0].variance);
    for (std::size_t i = 1; i < seen.size(); ++i)
      total = add(ex.tape, total, statistics_distance(ex.tape, seen[i].values, seen[i].mean, seen[i].variance));
    return scale(ex.tape, weight, total);
  }
};

/// Cross-entropy of the teacher against the exchange's labels: its own classes (DAFL, DFQ: "one-hot") or sampled targets.
struct OneHot {
  double weight = 1;
  template <class E>
  auto evaluate(E& ex) const {
    const auto t = result_of(ex.teacher);
    using T = typename decltype(t)::value_type;
    return row_loss(ex.tape, loss::CrossEntropy<BatchMean>{.weight = weight}, RowLossInputs<T>{.student = t, .labels = ex.labels});
  }
};

/// sum_c p_c log p_c of the batch-mean softmax p of the teacher: minimising it spreads the batch over the classes.
struct Balance {
  double weight = 20;
  template <class E>
  auto evaluate(E& ex) const {
    const auto p = mean_axis(ex.tape, softmax(ex.tape, result_of(ex.teacher)), 0);
    return scale(ex.tape, weight, sum(ex.tape, activate(ex.tape, functor::XLogX{}, p)));
  }
};

/// -mean |f| of the teacher's feature behind the tap `Tag`, usually the penultimate one: features that fire (DAFL).
template <class Tag>
struct Activation {
  double weight = 0.001;
  template <class E>
  auto evaluate(E& ex) const {
    const auto magnitude = activate(ex.tape, functor::LeakyRelu{-1.f}, tap<Tag>(ex.teacher));  // slope -1: |f|, and replayable
    return scale(ex.tape, -weight, mean(ex.tape, magnitude));
  }
};

}  // namespace source
}  // namespace retort
