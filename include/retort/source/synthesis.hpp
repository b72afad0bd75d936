#pragma once
// What sources that make their batches by differentiating through the networks have in common.

#include <algorithm>
#include <retort/autograd/ops_matrix.hpp>
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
  std::tuple<Terms...> terms;  // value-initialised by {}: an initialiser here makes GCC 12 give up on `{}` arguments

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

/// The adversarial term of CMI: -weight * mean_i [argmax S = argmax T] KL(T || S), where the networks still agree.
struct AdversarialWhereAgreed {
  double weight = 0.5;
  template <class E>
  auto evaluate(E& ex) const {
    const auto s = result_of(ex.student), t = result_of(ex.teacher);
    using T = typename decltype(s)::value_type;
    const index_t n = s.extent(0);
    auto* mine = ex.tape.template allocate_raw<std::int32_t>(n);
    auto* theirs = ex.tape.template allocate_raw<std::int32_t>(n);
    using K = Kernels<std::remove_cvref_t<decltype(ex.tape.backend())>>;
    K::arg_max_rows(ex.tape.backend(), s.value, mine);
    K::arg_max_rows(ex.tape.backend(), t.value, theirs);
    const auto classes = [&](const std::int32_t* c) { return ex.tape.on_host(View<const std::int32_t, 1>{c, {n}}); };
    const auto a = classes(mine), b = classes(theirs);
    const auto mask = ex.tape.template from_host<std::uint8_t>(Shape<1>{n}, [&](View<std::uint8_t, 1> m) {
      for (index_t i = 0; i < n; ++i) m(i) = a(i) == b(i);
    });
    const auto kl = row_loss(ex.tape, loss::Masked{loss::KlBatch{}}, RowLossInputs<T>{.student = s, .teacher = t, .mask = mask});
    return scale(ex.tape, static_cast<T>(-weight), kl);
  }
};

/// The adversarial term of DeepInversion (Yin et al. 2020), -weight * JS, in the form that its reference code takes: the
/// mixture M = (P + Q) / 2 is the target, 1/2 KL(M || P) + 1/2 KL(M || Q), all three clamped to [0.01, 0.99]; P and Q are the
/// softmaxes of the two networks at `temperature`. (The textbook JS is loss::JensenShannon, which Adversarial takes too.)
struct AdversarialMixture {
  double weight = 1, temperature = 3;
  template <class E>
  auto evaluate(E& ex) const {
    auto& tape = ex.tape;
    const auto s = result_of(ex.student), t = result_of(ex.teacher);
    using T = typename decltype(s)::value_type;
    const auto probabilities = [&](auto z) { return softmax(tape, scale(tape, static_cast<T>(1 / temperature), z)); };
    const auto clamped = [&](auto p) {
      return add_constant(tape, activate(tape, functor::Relu{}, add_constant(tape, clip_above(tape, p, T(0.99)), T(-0.01))), T(0.01));
    };
    const auto logarithm = [&](auto p) { return activate(tape, functor::Log{}, p); };
    const auto p = probabilities(s), q = probabilities(t);
    const auto m = clamped(scale(tape, T(0.5), add(tape, p, q)));
    const auto cross = scale(tape, T(0.5), add(tape, logarithm(clamped(p)), logarithm(clamped(q))));
    const auto js = sum(tape, multiply(tape, m, subtract(tape, logarithm(m), cross)));
    return scale(tape, static_cast<T>(-weight / static_cast<double>(s.extent(0))), js);
  }
};

/// weight * (mean |difference| of neighbours to the right, below, and on the two diagonals, added up): smooth images.
struct TotalVariation {
  double weight = 1e-3;
  template <class E>
  auto evaluate(E& ex) const {
    auto& tape = ex.tape;
    const auto x = ex.input;
    using T = typename decltype(x)::value_type;
    const index_t channels = x.extent(3);
    // A difference is a convolution of each channel by itself with -1 and 1.
    const auto differences = [&](int height, int width, int minus, int plus) {
      const auto kernel = tape.from_host(Shape<4>{height, width, 1, channels}, [&](View<T, 4> k) {
        std::fill(k.begin(), k.end(), T(0));
        for (index_t c = 0; c < channels; ++c) k.data[minus * channels + c] = T(-1), k.data[plus * channels + c] = T(1);
      });
      const auto d = conv2d(tape, Conv2dGeometry{.kernel_h = height, .kernel_w = width, .padding = 0, .groups = static_cast<int>(channels)}, x,
                            tape.constant(kernel), no_bias<T>());
      return mean(tape, activate(tape, functor::Magnitude{}, d));
    };
    const auto straight = add(tape, differences(1, 2, 0, 1), differences(2, 1, 0, 1));
    const auto diagonal = add(tape, differences(2, 2, 0, 3), differences(2, 2, 1, 2));
    return scale(tape, static_cast<T>(weight), add(tape, straight, diagonal));
  }
};

/// weight * mean over the batch of ||x||_2.
struct L2Norm {
  double weight = 1e-5;
  template <class E>
  auto evaluate(E& ex) const {
    auto& tape = ex.tape;
    const auto x = flatten(tape, ex.input);
    using T = typename decltype(x)::value_type;
    return scale(tape, static_cast<T>(weight), mean(tape, activate(tape, functor::Sqrt{1e-24}, sum_axis(tape, multiply(tape, x, x), 1))));
  }
};

}  // namespace source
}  // namespace retort
