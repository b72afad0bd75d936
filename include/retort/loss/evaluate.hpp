#pragma once
// The loss slot of a method takes either a row loss (functor/row_loss.hpp; sums of them stay one pass) or any type with
// `template <class E> auto evaluate(E& exchange) const`, which returns a scalar variable, or a loss with state
// (loss/learned.hpp). `Joint` adds them up.

#include <retort/autograd/ops.hpp>
#include <retort/autograd/ops_loss.hpp>
#include <retort/loss/combine.hpp>
#include <retort/loss/learned.hpp>

namespace retort::loss {

/// The value of a loss on an exchange, as a scalar variable of shape (1).
template <class Loss, class E>
auto evaluate(const Loss& loss, E& exchange) {
  static_assert(!learned<Loss>, "retort: this loss has parameters or memory of its own, and they live in the loss slot of a "
                                "method alone; give it to with_loss, not to a source or a censor; see retort/loss/learned.hpp");
  if constexpr (requires { loss.evaluate(exchange); }) {
    return loss.evaluate(exchange);
  } else {
    using V = std::remove_cvref_t<decltype(result_of(exchange.student))>;
    return row_loss(exchange.tape, loss,
                    RowLossInputs<typename V::value_type>{.student = result_of(exchange.student),
                                                          .teacher = result_of(exchange.teacher),
                                                          .labels = exchange.labels,
                                                          .mask = exchange.mask,
                                                          .weights = exchange.weights,
                                                          .temperatures = exchange.temperatures,
                                                          .extras = exchange.extras});
  }
}

/// The same of a loss with state; `state` is nn::NoState for one without.
template <class Loss, class E, class S>
auto evaluate(const Loss& loss, E& exchange, S& state) {
  if constexpr (learned<Loss>)
    return loss.evaluate(exchange, state);
  else
    return evaluate(loss, exchange);
}

/// The sum of losses of any kind: row losses beside feature losses. Put all row losses into one `Sum` for one pass.
template <class... Losses>
struct Joint {
  static constexpr bool learned = (loss::learned<Losses> || ...);
  template <class T, class B>
  using State = nn::StateTuple<state_of<Losses, T, B>...>;

  retort::detail::Tuple<Losses...> losses;
  Joint() : losses{} {}
  explicit(sizeof...(Losses) == 1) Joint(Losses... l) : losses{{std::move(l)}...} {}

  template <class S>
  auto make(S& start) const {
    return make_each(start, std::index_sequence_for<Losses...>{});
  }
  template <class E>
  auto evaluate(E& exchange) const {
    nn::StateTuple<state_of<Losses, float, Cpu>...> none;
    return evaluate(exchange, none);
  }
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    return total(exchange, state, std::index_sequence_for<Losses...>{});
  }

 private:
  template <class S, std::size_t... I>
  auto make_each(S& start, std::index_sequence<I...>) const {
    return State<typename S::scalar, typename S::context>{{{make_state(retort::detail::get<I>(losses), start, I)}...}};
  }
  template <class E, class S, std::size_t First, std::size_t... Rest>
  auto total(E& exchange, S& state, std::index_sequence<First, Rest...>) const {
    const auto one = [&](auto i) { return loss::evaluate(retort::detail::get<i>(losses), exchange, retort::detail::get<i>(state.states)); };
    auto sum = one(std::integral_constant<std::size_t, First>{});
    ((sum = add(exchange.tape, sum, one(std::integral_constant<std::size_t, Rest>{}))), ...);
    return sum;
  }
};

/// One of several losses, chosen at run time: what comparisons and sweeps want, which would else compile a method for each.
/// The states of all are made; the others' parameters stay as they are.
template <class... Losses>
struct OneOf {
  static constexpr bool learned = (loss::learned<Losses> || ...);
  template <class T, class B>
  using State = nn::StateTuple<state_of<Losses, T, B>...>;

  retort::detail::Tuple<Losses...> losses;
  std::size_t chosen = 0;
  explicit OneOf(Losses... l) : losses{{std::move(l)}...} {}

  template <class S>
  auto make(S& start) const {
    return losses.apply([](const auto&... l) { return Joint<Losses...>(l...); }).make(start);
  }
  template <class E>
  auto evaluate(E& exchange) const {
    nn::StateTuple<state_of<Losses, float, Cpu>...> none;
    return evaluate(exchange, none);
  }
  /// Throws value_error when `chosen` is none of them.
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    require<value_error>(chosen < sizeof...(Losses), "loss::OneOf: chose loss ", chosen, " of ", sizeof...(Losses));
    return pick(exchange, state, std::index_sequence_for<Losses...>{});
  }

 private:
  template <class E, class S, std::size_t... I>
  auto pick(E& exchange, S& state, std::index_sequence<I...>) const {
    using V = decltype(loss::evaluate(retort::detail::get<0>(losses), exchange, retort::detail::get<0>(state.states)));
    V value{};
    ((I == chosen ? void(value = loss::evaluate(retort::detail::get<I>(losses), exchange, retort::detail::get<I>(state.states))) : void()), ...);
    return value;
  }
};

/// A loss that grows in over the first epochs: times min(1, (epoch + 1) / epochs), as DKD and ReviewKD are published.
template <class Loss>
struct WarmUp {
  static constexpr bool learned = loss::learned<Loss>;
  template <class T, class B>
  using State = state_of<Loss, T, B>;

  Loss loss{};
  double epochs = 20;

  template <class S>
  auto make(S& start) const {
    return make_state(loss, start, 0);
  }
  template <class E>
  auto evaluate(E& exchange) const {
    nn::NoState none;
    return evaluate(exchange, none);
  }
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    const auto value = loss::evaluate(loss, exchange, state);
    const double share = std::min(1.0, (exchange.progress.epoch + 1) / epochs);
    return scale(exchange.tape, static_cast<typename decltype(value)::value_type>(share), value);
  }
};
template <class Loss>
WarmUp(Loss) -> WarmUp<Loss>;

}  // namespace retort::loss
