#pragma once

#include <retort/core/state.hpp>
#include <retort/method/roles.hpp>
#include <retort/nn/network.hpp>

namespace retort::student {

/// A network that learns. Refers to the caller's network, which holds the result after `fit`.
template <class Architecture, class Backend = Cpu>
class Trainable {
 public:
  using role = retort::role::student;
  using network_type = Network<Architecture, Backend>;
  template <class B2>
  using rebind = Trainable<Architecture, B2>;

  Trainable(network_type& network) : network_(&network) {}

  template <class T, class B, class E>
  auto answer(Pass<T, B>& pass, const E& batch) {
    return network_->forward(pass, batch.input);
  }
  std::vector<ParameterRef<typename network_type::scalar>> parameters() { return network_->parameters(); }
  network_type& network() { return *network_; }
  /// The network whose answers count after training.
  network_type& result() { return *network_; }
  /// Everything a checkpoint must hold beside the optimiser's state.
  void visit_state(const StateVisitor& visit) {
    for (auto& [name, view] : network_->tensors()) visit(name, view);
  }
  std::string describe() const { return network_->describe(); }

 private:
  network_type* network_;
};

}  // namespace retort::student
