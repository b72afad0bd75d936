#pragma once

#include <retort/method/roles.hpp>
#include <retort/nn/network.hpp>

namespace retort::teacher {

/// A trained network that answers and never learns: evaluation mode, running statistics, no parameter gradients. Its
/// input gradients exist, so data-free sources and vaccines can differentiate through it. Refers to the network.
template <class Architecture, class Backend = Cpu>
class Frozen {
 public:
  using role = retort::role::teacher;
  using network_type = Network<Architecture, Backend>;
  static constexpr bool differentiable = true;
  static constexpr bool answers_repeat = true;  ///< asked again about a batch, it says the same
  template <class B2>
  using rebind = Frozen<Architecture, B2>;

  Frozen(network_type& network) : network_(&network) {}

  /// Logits (and taps) for the batch; `pass` is a frozen one.
  template <class T, class B, class E>
  auto answer(Pass<T, B>& pass, const E& exchange_input) {
    return network_->forward(pass, exchange_input.input);
  }
  network_type& network() { return *network_; }
  std::string describe() const { return "frozen " + network_->describe(); }

 private:
  network_type* network_;
};

}  // namespace retort::teacher
