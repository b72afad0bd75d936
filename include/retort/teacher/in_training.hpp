#pragma once

#include <retort/teacher/frozen.hpp>

namespace retort::teacher {

/// A trained network left in training mode: its parameters stay, but batch norms normalise by the batch and move their
/// running statistics, and dropout is on. No method's paper asks for it; it is how mdistiller's OFD has its teacher (OFD
/// as published: `loss::OverhaulFeature` under this teacher), and a frequent mistake. Refers to the network, and changes it;
/// checkpoints do not hold a teacher, so that a resumed run goes on from the statistics that the network then has.
template <class Architecture, class Backend = Cpu>
class InTraining {
 public:
  using role = retort::role::teacher;
  using network_type = Network<Architecture, Backend>;
  static constexpr bool differentiable = false;  ///< through the statistics of a batch its rows depend on each other
  template <class B2>
  using rebind = InTraining<Architecture, B2>;

  /// `rng`: the dropout masks.
  InTraining(network_type& network, const Rng& rng = Rng(0)) : network_(&network), rng_(rng) {}

  /// Logits (and taps) for the batch.
  template <class T, class B, class E>
  auto answer(Pass<T, B>& pass, const E& question) {
    Pass<T, B> own = pass;
    own.train = true;
    own.statistics = BatchStatistics::update;
    own.rng = rng_.fork(answers_++);
    own.forks = 0;
    return network_->forward(own, question.input);
  }
  network_type& network() { return *network_; }
  std::string describe() const { return "in training mode " + network_->describe(); }

 private:
  network_type* network_;
  Rng rng_;
  std::uint64_t answers_ = 0;
};

}  // namespace retort::teacher
