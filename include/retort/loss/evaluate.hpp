#pragma once
// The loss slot of a method takes either a row loss (functor/row_loss.hpp; sums of them stay one pass) or any type with
// `template <class E> auto evaluate(E& exchange) const`, which returns a scalar variable. `Joint` adds them up.

#include <retort/autograd/ops.hpp>
#include <retort/autograd/ops_loss.hpp>
#include <retort/loss/combine.hpp>
#include <retort/nn/sequential.hpp>
#include <tuple>

namespace retort::loss {

/// The value of a loss on an exchange, as a scalar variable of shape (1).
template <class Loss, class E>
auto evaluate(const Loss& loss, E& exchange) {
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

/// The sum of losses of any kind: row losses beside feature losses. Put all row losses into one `Sum` for one pass.
template <class... Losses>
struct Joint {
  std::tuple<Losses...> losses;
  explicit Joint(Losses... l) : losses(std::move(l)...) {}
  template <class E>
  auto evaluate(E& exchange) const {
    return std::apply(
        [&](const auto& first, const auto&... rest) {
          auto total = loss::evaluate(first, exchange);
          ((total = add(exchange.tape, total, loss::evaluate(rest, exchange))), ...);
          return total;
        },
        losses);
  }
};

}  // namespace retort::loss
