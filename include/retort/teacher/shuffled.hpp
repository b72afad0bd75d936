#pragma once

#include <numeric>
#include <retort/core/rng.hpp>
#include <retort/method/roles.hpp>
#include <retort/nn/network.hpp>
#include <vector>

namespace retort::teacher {

/// W'[.., i, o] = W[.., permutation[i], o]: permutes the input channels of a convolution (KH x KW x C_in x C_out), which is
/// the same as permuting the activations that enter it. Throws shape_error when the sizes differ.
template <class T, class B = Cpu>
void permute_input_channels(View<const T, 4> from, std::span<const index_t> permutation, View<T, 4> to) {
  const index_t channels = from.extent(2), width = from.extent(3);
  require<shape_error>(from.shape == to.shape && static_cast<index_t>(permutation.size()) == channels,
                       "permute_input_channels: weights ", to_string(from.shape), " to ", to_string(to.shape), ", ",
                       permutation.size(), " entries for ", channels, " input channels");
  for (index_t k = 0; k < from.extent(0) * from.extent(1); ++k)
    for (index_t i = 0; i < channels; ++i)
      B::copy(to.data + (k * channels + i) * width, from.data + (k * channels + permutation[static_cast<std::size_t>(i)]) * width,
              static_cast<std::size_t>(width) * sizeof(T));
}

/// Weights of all convolutions of a network, in registration order, 1x1 shortcuts included.
template <class Architecture, class Backend>
auto convolution_weights(Network<Architecture, Backend>& network) {
  std::vector<View<scalar_of<Backend>, 4>> out;
  network.visit([&](const std::string&, auto& p) {
    if constexpr (requires { p.slot; })
      if constexpr (std::remove_cvref_t<decltype(p.value)>::rank == 4) out.push_back(p.value.view());
  });
  return out;
}

struct ShuffleOptions {
  int clones = 3;  ///< members of the ensemble
  /// That many of the last convolutions; negative: of the first; 0: none. 5 is block 3 of WRN-16-2; take the last stage.
  int layers = 5;
};

/// ABD's shuffled teacher (Hong et al. 2023, "Revisiting Data-Free Knowledge Distillation with Poisoned Teachers"): clones
/// whose late convolutions have their input channels permuted, each layer and clone on its own; the answer is the mean of
/// their logits. A backdoor's shortcut uses few channels and survives; what recognises ordinary images does not.
/// Frozen and differentiable. Throws value_error for fewer than one clone or a network without convolutions.
template <class Architecture, class Backend = Cpu>
class Shuffled {
 public:
  using role = retort::role::teacher;
  using network_type = Network<Architecture, Backend>;
  using scalar = scalar_of<Backend>;
  using context = context_of<Backend>;
  static constexpr bool differentiable = true;
  template <class B2>
  using rebind = Shuffled<Architecture, B2>;

  Shuffled(network_type& network, const ShuffleOptions& options = {}, const Rng& rng = Rng(0)) : original_(&network) {
    require<value_error>(options.clones >= 1, "teacher::Shuffled: expected at least 1 clone, got ", options.clones);
    const auto convolutions = static_cast<int>(convolution_weights(network).size());
    require<value_error>(convolutions > 0, "teacher::Shuffled: the network has no convolutions to shuffle: ", network.describe());
    first_ = options.layers >= 0 ? std::max(0, convolutions - options.layers) : 0;
    last_ = options.layers >= 0 ? convolutions : std::min(convolutions, -options.layers);
    for (int k = 0; k < options.clones; ++k) clones_.push_back(network.clone());
    shuffle(rng);
  }

  /// Draws fresh permutations, a function of the stream alone.
  void shuffle(const Rng& rng) {
    for (std::size_t k = 0; k < clones_.size(); ++k)
      permute(static_cast<int>(k), [&](int layer, std::vector<index_t>& order) {
        Rng own = rng.fork(k).fork(static_cast<std::uint64_t>(layer));
        own.shuffle(order);
      });
  }
  /// Sets the permutations of one clone: `choose(layer, order)` changes `order`, which comes as 0 .. C_in - 1; `layer`
  /// counts all convolutions of the network, and only the shuffled ones are asked for.
  template <class F>
  void permute(int clone, F&& choose) {
    const auto from = convolution_weights(*original_);
    const auto to = convolution_weights(clones_.at(static_cast<std::size_t>(clone)));
    for (int layer = first_; layer < last_; ++layer) {
      const auto at = static_cast<std::size_t>(layer);
      std::vector<index_t> order(static_cast<std::size_t>(from[at].extent(2)));
      std::iota(order.begin(), order.end(), index_t{0});
      choose(layer, order);
      permute_input_channels<scalar, context>(from[at], order, to[at]);
    }
  }

  /// Mean logits of the clones; one clone's are its own, bit for bit.
  template <class T, class B, class E>
  Var<T, 2> answer(Pass<T, B>& pass, const E& batch) {
    Var<T, 2> total = result_of(clones_.front().forward(pass, batch.input));
    for (std::size_t k = 1; k < clones_.size(); ++k) total = add(pass.tape, total, result_of(clones_[k].forward(pass, batch.input)));
    return clones_.size() == 1 ? total : scale(pass.tape, T(1) / static_cast<T>(clones_.size()), total);
  }
  network_type& original() { return *original_; }
  network_type& clone(int k) { return clones_.at(static_cast<std::size_t>(k)); }
  std::string describe() const {
    return retort::detail::concat(clones_.size(), " shuffled clones of ", original_->describe(), ", convolutions ", first_, " to ", last_ - 1);
  }

 private:
  network_type* original_;
  std::vector<network_type> clones_;
  int first_ = 0, last_ = 0;
};

}  // namespace retort::teacher
