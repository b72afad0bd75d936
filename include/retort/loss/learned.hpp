#pragma once
// Losses with parameters or memory of their own: connectors, variances, embeddings, banks. Like a layer (nn/layer.hpp), such
// a loss is an aggregate of hyper-parameters with
//   template <class T, class B> struct State;             what it learns and remembers; State::visit(f) calls
//                                                         f("name", nn::Parameter&) for what the student's optimiser trains
//                                                         and f("name", nn::Buffer&) for what the loss moves itself
//   template <class S> auto make(S& start) const;         a State, from a Start: the shapes of the first batch, the task
//   template <class E, class S> auto evaluate(E& exchange, S& state) const;      a scalar variable
// The loss slot of a method keeps the state: `fit` makes it anew from the run's seed, hands its parameters to the student's
// optimiser, puts both kinds of entries into checkpoints, and restores the previous state when it throws.
// `static constexpr bool learned` tells whether a composed loss (Joint, OnTaps) has any.

#include <retort/nn/network.hpp>

namespace retort::loss {

/// Whether a loss has state.
template <class L>
inline constexpr bool learned = [] {
  if constexpr (requires { L::learned; })
    return bool(L::learned);
  else
    return requires { typename L::template State<float, Cpu>; };
}();

/// What a loss sees before training: a first batch, evaluated by both networks in evaluation mode and never learned from.
template <class E, class B, class D>
struct Start {
  using scalar = typename std::remove_reference_t<decltype(std::declval<E&>().tape)>::value_type;
  using context = B;
  E& exchange;
  int classes;
  index_t samples;  ///< of the data set; 0 without one
  const D& data;
  Rng rng;          ///< of this loss alone
};

namespace detail {
template <class L, class T, class B>
struct state_of {
  using type = nn::NoState;
};
template <class L, class T, class B>
  requires learned<L>
struct state_of<L, T, B> {
  using type = typename L::template State<T, B>;
};
}  // namespace detail

/// The state of a loss, nn::NoState when it has none.
template <class L, class T, class B>
using state_of = typename detail::state_of<L, T, B>::type;

/// The state for a task.
template <class L, class S>
auto make_state(const L& loss, S& start, std::uint64_t stream) {
  if constexpr (learned<L>) {
    S own = start;
    own.rng = start.rng.fork(stream);
    return loss.make(own);
  } else {
    return nn::NoState{};
  }
}

/// The pass in which a loss's own layers answer: training in the student's turn, else frozen. `stream` tells the random
/// numbers of several parts apart.
template <class E>
auto own_pass(const E& exchange, std::uint64_t stream = 0) {
  using Tape = std::remove_reference_t<decltype(exchange.tape)>;
  using P = Pass<typename Tape::value_type, typename Tape::backend_type>;
  auto pass = exchange.turn == decltype(exchange.turn){} ? P::training(exchange.tape, exchange.rng.fork(0x6c6f7373).fork(stream))
                                                         : P::frozen(exchange.tape);
  if constexpr (requires { exchange.graph; }) pass.graph = exchange.graph;
  return pass;
}

}  // namespace retort::loss
