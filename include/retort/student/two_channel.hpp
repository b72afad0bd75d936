#pragma once

#include <retort/core/state.hpp>
#include <retort/loss/evaluate.hpp>
#include <retort/student/trainable.hpp>

namespace retort::student {

/// Distillation-oriented training (Zhao et al. 2023, DOT): the gradients of the task and of the distillation keep a momentum
/// of their own, mu - delta and mu + delta, so that the distillation leads:
///   v_t = (mu - delta) v_t + g_t + decay w,  v_d = (mu + delta) v_d + g_d,  w -= lr (v_t + v_d).
/// The loss's member `hard` is the task's part; all else is distillation. One forward pass, two backward ones over the same
/// tape. Give `fit` an optim::Sgd without momentum and weight decay: both are here. delta = 0 is SGD with momentum on the
/// sum; delta = 0.075 on CIFAR-100. Parameters that one part alone touches have momentum mu.
template <class Architecture, class Backend = Cpu>
class TwoChannel : public Trainable<Architecture, Backend> {
  using base = Trainable<Architecture, Backend>;

 public:
  using typename base::network_type;
  using scalar = typename network_type::scalar;
  using context = typename network_type::context;
  template <class B2>
  using rebind = TwoChannel<Architecture, B2>;

  struct Options {
    double momentum = 0.9, delta = 0.075, weight_decay = 5e-4;
  };

  /// Throws value_error unless 0 <= delta <= momentum, momentum + delta < 1 and weight_decay >= 0.
  TwoChannel(network_type& network, Options options = {}) : base(network), options_(options) {
    require<value_error>(options.delta >= 0 && options.delta <= options.momentum && options.momentum + options.delta < 1 && options.weight_decay >= 0,
                         "student::TwoChannel: expected 0 <= delta <= momentum, momentum + delta < 1 and weight_decay >= 0, got ", options.delta, ", ",
                         options.momentum, ", ", options.weight_decay);
  }

  template <class T, class Data>
  void prepare(const Setup<context>&, const Data&) {
    parameters_ = base::parameters();
    channels_.clear();
    for (const auto& p : parameters_) channels_.push_back({Tensor<scalar, 1, context>(p.value.shape), Tensor<scalar, 1, context>(p.value.shape), Tensor<scalar, 1, context>(p.value.shape)});
  }

  /// Behind the backward pass of the whole loss: splits the gradient and leaves v_t + v_d in its place.
  template <class E, class Loss>
  void before_step(E& exchange, const Loss& loss) {
    static_assert(requires { loss.hard; }, "retort: student::TwoChannel (DOT) keeps the task's gradient apart: the loss needs a member `hard`, its "
                                           "task part, as loss::HintonLoss has; see retort/student/two_channel.hpp");
    auto& tape = exchange.tape;
    auto& backend = tape.backend();
    using K = Kernels<context>;
    const auto task = retort::loss::evaluate(loss.hard, exchange);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      auto& slot = *parameters_[i].slot;
      channels_[i].touched = slot.written;
      if (slot.written) K::accumulate(backend, scalar(1), View<const scalar, 1>{slot.data, parameters_[i].value.shape}, channels_[i].whole.view(), Write::replace);
      slot.written = false;
    }
    tape.backward_again(task);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      auto& c = channels_[i];
      const auto& p = parameters_[i];
      if (!c.touched) continue;
      const View<scalar, 1> g{p.slot->data, p.value.shape};
      const bool has_task = p.slot->written;
      const auto delta = has_task ? options_.delta : 0.;
      const auto add = [&](double factor, View<const scalar, 1> from, View<scalar, 1> to) { K::accumulate(backend, static_cast<scalar>(factor), from, to, Write::add); };
      const auto scale = [&](double factor, View<scalar, 1> v) { K::accumulate(backend, static_cast<scalar>(factor), View<const scalar, 1>(v), v, Write::replace); };
      scale(options_.momentum + delta, c.distillation.view());
      add(1, c.whole.view(), c.distillation.view());
      scale(options_.momentum - delta, c.task.view());
      if (has_task) {
        add(-1, View<const scalar, 1>(g), c.distillation.view());
        add(1, View<const scalar, 1>(g), c.task.view());
      }
      if (p.decay && options_.weight_decay > 0) add(options_.weight_decay, View<const scalar, 1>(p.value), c.task.view());
      K::accumulate(backend, scalar(1), View<const scalar, 1>(c.task.view()), g, Write::replace);
      add(1, c.distillation.view(), g);
      p.slot->written = true;
    }
  }
  void visit_state(const StateVisitor& visit) {
    base::visit_state(visit);
    for (std::size_t i = 0; i < channels_.size(); ++i) {
      visit("task_velocity." + std::to_string(i), channels_[i].task.view());
      visit("distillation_velocity." + std::to_string(i), channels_[i].distillation.view());
    }
  }
  std::string describe() const {
    return retort::detail::concat(base::describe(), " by two channels, momentum ", options_.momentum, " -+ ", options_.delta, ", weight decay ", options_.weight_decay);
  }

 private:
  struct Channel {
    Tensor<scalar, 1, context> task, distillation, whole;
    bool touched = false;
  };
  Options options_;
  std::vector<ParameterRef<scalar>> parameters_;
  std::vector<Channel> channels_;
};

}  // namespace retort::student
