#pragma once

#include <retort/core/state.hpp>
#include <retort/optim/optimizer.hpp>

namespace retort {

/// A block of parameters with its optimiser: what takes a step after backward(). Students, guides, generators and
/// opponents each have one.
template <class Optimizer, class T, class B>
class Learner {
 public:
  Learner(Optimizer optimizer, std::vector<ParameterRef<T>> parameters)
      : optimizer_(std::move(optimizer)), parameters_(std::move(parameters)),
        state_(optimizer_.template make<T, B>(std::span<const ParameterRef<T>>(parameters_))) {}

  std::span<const ParameterRef<T>> parameters() const { return parameters_; }
  /// Forgets gradients that are lying about.
  void zero_grad() {
    for (const auto& p : parameters_) p.slot->written = false;
  }
  /// Clips and steps with the scheduled rate at `epoch` (fractional) of `epochs`.
  void step(B& backend, double epoch, double epochs) {
    clipper_(backend, parameters(), optimizer_.clip);
    optimizer_.step(state_, backend, parameters(), rate(epoch, epochs));
  }
  double rate(double epoch, double epochs) const { return optimizer_.lr * optimizer_.schedule.factor(epoch, epochs); }
  /// Tells the schedule the watched metric of an epoch.
  void observe(double metric) { optimizer_.schedule.observe(metric); }

  const Optimizer& optimizer() const { return optimizer_; }
  void visit_state(const StateVisitor& visit) {
    state_.visit_state(visit);
    if (auto* plateau = std::get_if<optim::ReduceOnPlateau>(&optimizer_.schedule.rule)) {
      visit("plateau.factor", plateau->memory.factor);
      visit("plateau.best", plateau->memory.best);
      visit("plateau.bad", plateau->memory.bad);
      visit("plateau.started", plateau->memory.started);
    }
  }

 private:
  Optimizer optimizer_;
  std::vector<ParameterRef<T>> parameters_;
  typename Optimizer::template State<T, B> state_;
  optim::Clipper<T, B> clipper_;
};

}  // namespace retort
