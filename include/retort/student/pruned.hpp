#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <retort/student/trainable.hpp>

namespace retort::student {

/// A student without its smallest weights: of the i-th weight tensor of rank 2 or more (convolutions, linear layers) the share
/// `sparsity[i]` of smallest magnitude is set to zero at once and stays zero through training (EdgeL3, Kumari et al. 2019:
/// {0, .85, .85, .85, .75, .95, .98, .98}). Biases and batch norms are spared.
template <class Architecture, class Backend = Cpu>
class Pruned : public Trainable<Architecture, Backend> {
  using base = Trainable<Architecture, Backend>;

 public:
  using typename base::network_type;
  using scalar = typename network_type::scalar;
  template <class B2>
  using rebind = Pruned<Architecture, B2>;

  /// Prunes the network. Throws value_error unless there is one share in [0, 1) for each weight tensor.
  Pruned(network_type& network, std::vector<double> sparsity) : base(network) {
    static_assert(context_of<Backend>::host_accessible, "retort: student::Pruned works on a CPU backend");
    network.visit([&](const std::string&, auto& p) {
      if constexpr (requires { p.slot; })
        if constexpr (std::remove_cvref_t<decltype(p.value)>::rank >= 2) weights_.push_back(p.value.view().flat());
    });
    require<value_error>(weights_.size() == sparsity.size(), "student::Pruned: ", sparsity.size(), " sparsities for ", weights_.size(), " weight tensors");
    for (const double share : sparsity)
      require<value_error>(share >= 0 && share < 1, "student::Pruned: expected a sparsity in [0, 1), got ", share);
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const auto w = weights_[i];
      std::vector<index_t> order(static_cast<std::size_t>(w.size()));
      std::iota(order.begin(), order.end(), index_t{0});
      std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) { return std::abs(w.data[a]) < std::abs(w.data[b]); });
      order.resize(static_cast<std::size_t>(sparsity[i] * static_cast<double>(w.size())));
      std::sort(order.begin(), order.end());
      zeros_.push_back(std::move(order));
    }
    after_step();
  }
  void after_step() {
    for (std::size_t i = 0; i < weights_.size(); ++i)
      for (const index_t at : zeros_[i]) weights_[i].data[at] = scalar(0);
  }
  /// Weights that are left, with all biases and batch norms.
  index_t remaining() {
    index_t n = this->network().parameter_count();
    for (const auto& z : zeros_) n -= static_cast<index_t>(z.size());
    return n;
  }
  std::string describe() const { return "pruned " + base::describe(); }

 private:
  std::vector<View<scalar, 1>> weights_;
  std::vector<std::vector<index_t>> zeros_;
};

}  // namespace retort::student
