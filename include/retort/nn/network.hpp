#pragma once

#include <memory>
#include <retort/nn/batch_norm.hpp>
#include <retort/nn/conv2d.hpp>
#include <retort/nn/linear.hpp>
#include <retort/nn/pool.hpp>
#include <retort/nn/sequential.hpp>
#include <string>
#include <vector>

namespace retort {

namespace nn {

/// All parameters of a state as flat references, in order. Gradient memory is reserved.
template <class T, class State>
std::vector<ParameterRef<T>> parameters_of(State& state) {
  std::vector<ParameterRef<T>> out;
  state.visit([&](const std::string&, auto& p) {
    if constexpr (requires { p.slot; }) {
      p.reserve_gradient();
      out.push_back({p.value.view().flat(), &p.slot, p.decay});
    }
  });
  return out;
}
/// Parameters and buffers of a state as flat views with names: what a checkpoint holds.
template <class T, class State>
std::vector<std::pair<std::string, View<T, 1>>> tensors_of(State& state) {
  std::vector<std::pair<std::string, View<T, 1>>> out;
  state.visit([&](const std::string& name, auto& p) { out.emplace_back(name, p.value.view().flat()); });
  return out;
}

}  // namespace nn

/// An architecture with its parameters on a backend. `Architecture` is any layer (usually nn::Sequential); `Backend` is
/// `Cpu` (float) or `Double<Cpu>`. Move-only; do not move it while a tape that used it is alive.
template <class Architecture, class Backend = Cpu>
class Network {
 public:
  using architecture_type = Architecture;
  using backend = Backend;
  using scalar = scalar_of<Backend>;
  using context = context_of<Backend>;
  using state_type = typename Architecture::template State<scalar, context>;

  /// Fresh parameters, a function of the architecture and the seed.
  explicit Network(Architecture architecture, std::uint64_t seed = 0) : architecture_(std::move(architecture)) {
    Rng rng(seed);
    state_ = std::make_unique<state_type>(architecture_.template make<scalar, context>(rng));
  }

  /// Result (a Var, or an Output with taps). Throws shape_error when x does not fit the first layer.
  template <class V>
  auto forward(Pass<scalar, context>& pass, V x) {
    return architecture_.forward(*state_, pass, x);
  }

  const Architecture& architecture() const { return architecture_; }
  /// Calls f(name, entry) on every nn::Parameter and nn::Buffer.
  template <class F>
  void visit(F&& f) {
    state_->visit(f);
  }
  /// All parameters as flat references, in order. Gradient memory is reserved.
  std::vector<ParameterRef<scalar>> parameters() { return nn::parameters_of<scalar>(*state_); }
  /// Parameters and buffers as flat views with names: what a checkpoint holds.
  std::vector<std::pair<std::string, View<scalar, 1>>> tensors() { return nn::tensors_of<scalar>(*state_); }
  /// Number of trainable values.
  index_t parameter_count() {
    index_t n = 0;
    visit([&](const std::string&, auto& p) {
      if constexpr (requires { p.slot; }) n += p.value.size();
    });
    return n;
  }
  /// Weight decay for matrices and convolutions only, not for biases and batch norms; takes effect with the next `fit`.
  void decay_matrices_only() {
    visit([](const std::string&, auto& p) {
      if constexpr (requires { p.slot; }) p.decay = std::remove_cvref_t<decltype(p.value)>::rank >= 2;
    });
  }
  /// Forgets accumulated gradients.
  void zero_grad() {
    visit([](const std::string&, auto& p) {
      if constexpr (requires { p.slot; }) p.slot.written = false;
    });
  }
  /// Takes over parameters and buffers of a network of the same architecture, of any backend and scalar type.
  template <class OtherBackend>
  void copy_from(Network<Architecture, OtherBackend>& other) {
    auto from = other.tensors();
    auto to = tensors();
    for (std::size_t i = 0; i < to.size(); ++i) {
      require<shape_error>(i < from.size() && from[i].second.size() == to[i].second.size(), "Network::copy_from: '", to[i].first,
                           "' has ", to[i].second.size(), " values here, the other network differs");
      std::vector<typename Network<Architecture, OtherBackend>::scalar> values(static_cast<std::size_t>(from[i].second.size()));
      context_of<OtherBackend>::copy(values.data(), from[i].second.data, values.size() * sizeof(values[0]));
      const std::vector<scalar> converted(values.begin(), values.end());
      context::copy(to[i].second.data, converted.data(), converted.size() * sizeof(scalar));
    }
  }
  /// A deep copy.
  Network clone() {
    Network out(architecture_, 0);
    out.copy_from(*this);
    return out;
  }
  std::string describe() const { return architecture_.describe(); }

 private:
  Architecture architecture_;
  std::unique_ptr<state_type> state_;  // at a fixed address, since variables point at gradient slots
};

/// `nn::sequential(nn::Linear{64, 32}, nn::Relu{}, nn::Linear{32, 10})` without spelling the types.
namespace nn {
template <class... Layers>
Sequential<Layers...> sequential(Layers... layers) {
  return Sequential<Layers...>(std::move(layers)...);
}
}  // namespace nn

}  // namespace retort
