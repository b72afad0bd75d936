#pragma once

#include <algorithm>
#include <retort/loss/evaluate.hpp>
#include <retort/loss/soft_cross_entropy.hpp>
#include <retort/nn/linear.hpp>

namespace retort::loss {

/// A temperature for each sample, learned with the student (BGNN, Guo et al. 2023): tau_i = low + (high - low) sigmoid(MLP([t_i, c_i]))
/// from the teacher's logits t_i and the entropy c_i of softmax(t_i), for a row loss with a temperature and its gradient. The
/// MLP is Linear-ReLU-Linear, its last layer starts at zero (tau in the middle), and it shares the student's optimiser. The
/// paper's KD term is a cross-entropy without T^2, which learns low temperatures; as ForwardKl it learns high ones. Works with
/// any student. A buffer `tau` holds the last batch's smallest, mean and largest tau and the share within 1 % of either end.
template <class Inner = SoftCrossEntropy<BatchMean, NoTSquared>>
struct AdaptiveTemperature {
  Inner inner{};
  double low = 1, high = 4;
  index_t hidden = 64;

  template <class T, class B>
  struct State {
    nn::Built<nn::Linear, T, B> first, last;
    nn::Buffer<T, B> tau;
    template <class F>
    void visit(F&& f) {
      first.visit(nn::under(f, "first."));
      last.visit(nn::under(f, "last."));
      f("tau", tau);
    }
  };
  /// Throws value_error unless 0 < low < high and hidden > 0.
  template <class S>
  auto make(S& start) const {
    using T = typename S::scalar;
    using B = typename S::context;
    require<value_error>(low > 0 && high > low && hidden > 0, "loss::AdaptiveTemperature: expected 0 < low < high and hidden > 0, got ", low, ", ", high, ", ", hidden);
    auto first = nn::build<T, B>(nn::Linear{start.classes + 1, hidden}, start.rng);
    return State<T, B>{std::move(first), nn::build<T, B>(nn::Linear{hidden, 1, true, nn::Init::zero}, start.rng), {Tensor<T, 1, B>(Shape{4})}};
  }
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    auto& tape = exchange.tape;
    auto pass = own_pass(exchange);
    const auto teacher = tape.detach(result_of(exchange.teacher));
    const auto seen = concat(tape, teacher, confidence(tape, teacher));
    const auto gate = activate(tape, functor::Sigmoid{}, state.last(pass, activate(tape, functor::Relu{}, state.first(pass, seen))));
    using T = typename decltype(gate.value)::value_type;
    const auto tau = add_constant(tape, scale(tape, static_cast<T>(high - low), gate), static_cast<T>(low));
    note(tau.value, state.tau.value);
    auto own = exchange;
    own.temperatures = reshape(tape, tau, Shape<1>{tau.size()});
    return loss::evaluate(inner, own);
  }

 private:
  /// Entropy of softmax(z), N x 1; the teacher is constant.
  template <class T, class B>
  static Var<T, 2> confidence(Tape<T, B>& tape, Var<T, 2> z) {
    NoGrad off(tape);
    const auto log_p = log_softmax(tape, z);
    return scale(tape, T(-1), sum_axis(tape, multiply(tape, softmax(tape, z), log_p), 1));
  }
  template <class V, class S>
  void note(const V& tau, S& to) const {
    if constexpr (S::backend::host_accessible) {
      using T = typename V::value_type;
      T least = tau.data[0], most = tau.data[0], sum = 0, ends = 0;
      const T margin = static_cast<T>(0.01 * (high - low));
      for (const T t : tau) {
        least = std::min(least, t), most = std::max(most, t), sum += t;
        ends += t < static_cast<T>(low) + margin || t > static_cast<T>(high) - margin ? T(1) : T(0);
      }
      const T n = static_cast<T>(tau.size());
      to(0) = least, to(1) = sum / n, to(2) = most, to(3) = ends / n;
    }
  }
};

/// Without the batch's weights: they are for the label loss beside it (boosting).
template <class Inner>
struct Unweighted {
  static constexpr bool learned = loss::learned<Inner>;
  template <class T, class B>
  using State = state_of<Inner, T, B>;
  Inner inner{};

  template <class S>
  auto make(S& start) const {
    return make_state(inner, start, 0);
  }
  template <class E>
  auto evaluate(E& exchange) const {
    nn::NoState none;
    return evaluate(exchange, none);
  }
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    auto own = exchange;
    own.weights = {};
    return loss::evaluate(inner, own, state);
  }
};
template <class Inner>
Unweighted(Inner) -> Unweighted<Inner>;

}  // namespace retort::loss

namespace retort::callbacks {

/// Records what loss::AdaptiveTemperature did: metrics tau_min, tau_mean, tau_max and tau_saturated (a share).
struct TemperatureLog {
  template <class S>
  void on_epoch_end(S& session) {
    auto& metrics = session.record().metrics;
    if constexpr (std::remove_reference_t<decltype(session.method())>::loss_is_learned)
      for (const auto& [name, view] : nn::tensors_of<typename S::scalar>(*session.method().loss_state()))
        if (name.size() >= 3 && name.compare(name.size() - 3, 3, "tau") == 0 && view.data[1] > 0) {  // one that loss::OneOf did not choose has none
          const char* const names[] = {"tau_min", "tau_mean", "tau_max", "tau_saturated"};
          for (index_t i = 0; i < 4; ++i) metrics.emplace_back(names[i], static_cast<double>(view.data[i]));
        }
  }
};

}  // namespace retort::callbacks
