#pragma once

#include <retort/backend/ops.hpp>
#include <retort/censor/none.hpp>
#include <retort/method/distiller.hpp>

namespace retort::censor {

/// Gives batches without labels the teacher's own classes as labels, so that censors and losses that ask for labels (a
/// guide's budget, cross-entropy) work on synthesised and out-of-distribution images. Wraps the censor that needs them.
template <class Inner = None>
class PseudoLabels : public Inner {
 public:
  using role = retort::role::censor;
  template <class B2>
  using rebind = PseudoLabels<rebound<Inner, B2>>;
  using Inner::Inner;
  PseudoLabels(Inner inner = {}) : Inner(std::move(inner)) {}

  template <class E>
  void apply(E& exchange) {
    if (exchange.labels.empty()) {
      const auto logits = result_of(exchange.teacher).value;
      using B = typename std::remove_reference_t<decltype(exchange.tape)>::backend_type;
      auto* classes = exchange.tape.template allocate_raw<std::int32_t>(logits.extent(0));
      Kernels<B>::arg_max_rows(exchange.tape.backend(), logits, classes);
      exchange.labels = {classes, {logits.extent(0)}};
    }
    Inner::apply(exchange);
  }
  std::string describe() const {
    const std::string inner = Inner::describe();
    return inner.empty() ? "the teacher's classes as labels" : inner + ", the teacher's classes as labels";
  }
};

}  // namespace retort::censor
