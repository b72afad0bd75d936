#pragma once
// What a layer is. A layer is an aggregate of hyper-parameters (no backend in it) with
//   template <class T, class B> struct State;                        its parameters and buffers
//   template <class T, class B> State<T, B> make(Rng& rng) const;    initialised
//   template <class T, class B> Var forward(State<T, B>&, Pass<T, B>&, Var x) const;
//   std::string describe() const;                                    for fingerprints and messages
// and `State::visit(f)` calls f("name", Parameter&) and f("name", Buffer&).

#include <cmath>
#include <retort/autograd/hvp.hpp>
#include <retort/autograd/ops_nn.hpp>
#include <retort/core/rng.hpp>
#include <string>
#include <vector>

namespace retort {

/// The backend of a method carries its arithmetic: `Cpu` computes in float, `Double<Cpu>` in double.
template <class Context>
struct Double {};
template <class B>
struct backend_traits {
  using context = B;
  using scalar = float;
};
template <class B>
struct backend_traits<Double<B>> {
  using context = B;
  using scalar = double;
};
template <class B>
using context_of = typename backend_traits<B>::context;
template <class B>
using scalar_of = typename backend_traits<B>::scalar;

/// What entered one batch normalisation, as rows of channels, beside the running statistics that the layer keeps.
template <class T>
struct BatchNormInput {
  Var<T, 2> values;  ///< (samples * positions) x channels
  index_t samples = 0;
  View<const T, 1> mean, variance;
};
/// Collects the inputs of every batch normalisation of a pass, in order, for losses that compare them with the running
/// statistics (DeepInversion, CMI). Clear it before each pass; its memory is reused.
template <class T>
struct BatchNormObserver {
  std::vector<BatchNormInput<T>> seen;
};

template <class T>
struct GraphView;

/// One forward pass: the tape to record on, and how layers should behave.
template <class T, class B>
struct Pass {
  Tape<T, B>& tape;
  bool train = true;  ///< dropout is on
  bool learn = true;  ///< parameters collect gradients; a frozen network passes gradients to its inputs only
  BatchStatistics statistics = BatchStatistics::update;
  Rng rng{};  ///< dropout masks; every drop takes the next fork
  std::uint64_t forks = 0;
  BatchNormObserver<T>* observer = nullptr;  ///< told what enters each batch normalisation, if set
  const GraphView<T>* graph = nullptr;       ///< how the rows of the batch hang together, for graph layers; see graph/batch.hpp

  Rng next_rng() { return rng.fork(forks++); }
  /// Evaluation: no dropout, running statistics, no parameter gradients.
  static Pass frozen(Tape<T, B>& tape) { return {tape, false, false, BatchStatistics::running}; }
  static Pass training(Tape<T, B>& tape, const Rng& rng) { return {tape, true, true, BatchStatistics::update, rng}; }
};

namespace nn {

/// A trainable tensor and its gradient, whose memory comes with the first pass that learns.
template <class T, int Rank, class B>
struct Parameter {
  Tensor<T, Rank, B> value;
  Tensor<T, Rank, B> grad;
  GradientSlot<T> slot;
  bool decay = true;

  Parameter() = default;
  explicit Parameter(Shape<Rank> shape, bool decay_ = true) : value(shape), decay(decay_) {}

  Var<T, Rank> var(Pass<T, B>& pass) {
    if (!pass.learn) return pass.tape.constant(View<const T, Rank>(value.view()));
    reserve_gradient();
    return pass.tape.leaf(View<const T, Rank>(value.view()), slot);
  }
  void reserve_gradient() {
    if (grad.empty() && !value.empty()) {
      grad = Tensor<T, Rank, B>(value.shape());
      slot.data = grad.data();
    }
  }
};

/// State that training moves but no gradient reaches (running statistics).
template <class T, class B>
struct Buffer {
  Tensor<T, 1, B> value;
};

/// Initialisers of weights with `fan_in` inputs and `fan_out` outputs.
enum class Init {
  he,      ///< normal, variance 2/fan_in (He et al. 2015), for ReLU networks
  glorot,  ///< uniform in +-sqrt(6/(fan_in+fan_out)) (Glorot & Bengio 2010)
  zero
};

template <class T, int R, class B>
void initialise(Parameter<T, R, B>& p, Init init, index_t fan_in, index_t fan_out, Rng& rng) {
  if (init == Init::zero) return;
  std::vector<T> host(static_cast<std::size_t>(p.value.size()));
  const double bound = std::sqrt(6.0 / static_cast<double>(fan_in + fan_out));
  const double deviation = std::sqrt(2.0 / static_cast<double>(fan_in));
  for (T& w : host)
    w = static_cast<T>(init == Init::he ? deviation * rng.normal() : bound * (2 * rng.uniform_double() - 1));
  B::copy(p.value.data(), host.data(), host.size() * sizeof(T));
}

/// The state of layers without parameters.
struct NoState {
  template <class F>
  void visit(F&&) {}
};

/// Mix-in for layers without parameters.
struct Stateless {
  template <class, class>
  using State = NoState;
  template <class T, class B>
  NoState make(Rng&) const {
    return {};
  }
};

/// A visitor that names what it is shown `prefix + name`.
template <class F>
auto under(F& f, std::string prefix) {
  return [&f, prefix = std::move(prefix)](const std::string& name, auto& entry) { f(prefix + name, entry); };
}

/// A layer beside its state: for parts whose extents are known at run time only (connectors, heads of losses).
template <class Layer, class T, class B>
struct Built {
  Layer layer;
  typename Layer::template State<T, B> state;
  template <class V>
  auto operator()(Pass<T, B>& pass, V x) {
    return layer.forward(state, pass, x);
  }
  template <class F>
  void visit(F&& f) {
    state.visit(f);
  }
};
template <class T, class B, class Layer>
Built<Layer, T, B> build(Layer layer, Rng& rng) {
  auto state = layer.template make<T, B>(rng);
  return {std::move(layer), std::move(state)};
}

}  // namespace nn
}  // namespace retort
