#pragma once

#include <retort/core/state.hpp>
#include <retort/student/trainable.hpp>

namespace retort::student {

/// A trainable student whose result is the exponential moving average of its weights:
/// average = decay * average + (1 - decay) * weights after each step (Tarvainen & Valpola 2017, weights of the mean
/// teacher). Running statistics are averaged alike.
template <class Architecture, class Backend = Cpu>
class Ema : public Trainable<Architecture, Backend> {
  static_assert(context_of<Backend>::host_accessible, "retort: student::Ema averages on the host; use the CPU backend");
  using base = Trainable<Architecture, Backend>;

 public:
  using typename base::network_type;
  template <class B2>
  using rebind = Ema<Architecture, B2>;

  Ema(network_type& network, double decay = 0.999) : base(network), average_(network.clone()), from_(network.tensors()), to_(average_.tensors()), decay_(decay) {
    require<value_error>(decay >= 0 && decay < 1, "student::Ema: expected a decay in [0, 1), got ", decay);
  }
  void after_step() {
    const auto keep = static_cast<typename network_type::scalar>(decay_);
    for (std::size_t i = 0; i < to_.size(); ++i)
      for (index_t k = 0; k < to_[i].second.size(); ++k)
        to_[i].second.data[k] = keep * to_[i].second.data[k] + (1 - keep) * from_[i].second.data[k];
  }
  network_type& result() { return average_; }
  void visit_state(const StateVisitor& visit) {
    base::visit_state(visit);
    for (auto& [name, view] : average_.tensors()) visit("average." + name, view);
  }

 private:
  using tensor_list = decltype(std::declval<network_type&>().tensors());
  network_type average_;
  tensor_list from_, to_;  // listed once: a step allocates nothing
  double decay_;
};

}  // namespace retort::student
