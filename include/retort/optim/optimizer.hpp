#pragma once
// Optimisers in two phases: an aggregate of hyper-parameters without a backend, and `State<T, B>` with the moments and a `visit_state`.
// One contract: `opt.step(state, backend, parameters, lr)` consumes the gradients (their slots become unwritten);
// parameters that no gradient reached stay as they are.

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <retort/autograd/hvp.hpp>
#include <retort/core/finite.hpp>
#include <retort/core/state.hpp>
#include <retort/functor/optimizer.hpp>
#include <retort/optim/schedule.hpp>
#include <span>
#include <string>
#include <vector>

namespace retort::optim {

/// Gradient clipping before the step; 0 switches a bound off.
struct Clip {
  double norm = 0;   ///< bound on the L2 norm of all gradients together
  double value = 0;  ///< bound on each entry's magnitude
};

/// Applies `clip` to the gradients that have arrived. Returns the global L2 norm before clipping (0 when none is asked for);
/// a device backend is waited for.
template <class T, class B>
double clip_gradients(B& backend, std::span<const ParameterRef<T>> parameters, const Clip& clip) {
  if (clip.value > 0)
    for (const auto& p : parameters)
      if (p.slot->written) Kernels<B>::clamp(backend, static_cast<T>(clip.value), View<T, 1>{p.slot->data, p.value.shape});
  if (clip.norm <= 0) return 0;
  double square = 0;
  for (const auto& p : parameters)
    if (p.slot->written) square += Kernels<B>::sum_of_squares(backend, View<const T, 1>{p.slot->data, p.value.shape});
  const double norm = std::sqrt(square);
  if (norm > clip.norm)
    for (const auto& p : parameters)
      if (p.slot->written) {
        const View<T, 1> g{p.slot->data, p.value.shape};
        Kernels<B>::accumulate(backend, static_cast<T>(clip.norm / norm), View<const T, 1>(g), g, Write::replace);
      }
  return norm;
}

namespace detail {
/// A number of an optimiser; in [0, 1), or any that is finite and at least 0.
struct Bounded {
  const char* name;
  double value;
  bool below_one = false;
};
/// Throws value_error for a number outside its bounds.
inline void check_options(const char* optimizer, std::initializer_list<Bounded> numbers, const Schedule& schedule, const Clip& clip) {
  const auto check = [&](const Bounded& n) {
    require<value_error>(n.value >= 0 && is_finite(n.value) && !(n.below_one && n.value >= 1), optimizer, ": expected ", n.name,
                         n.below_one ? " in [0, 1)" : " to be finite and at least 0", ", got ", n.value);
  };
  for (const Bounded& n : numbers) check(n);
  check({"clip.norm", clip.norm});
  check({"clip.value", clip.value});
  check({"schedule.warmup", schedule.warmup});
  schedule.check();
}
inline std::string describe_options(const Schedule& schedule, const Clip& clip) {
  std::string out;
  if (const std::string s = schedule.describe(); s != "constant") out += ", " + s;
  if (clip.norm > 0) out += retort::detail::concat(", clip norm ", clip.norm);
  if (clip.value > 0) out += retort::detail::concat(", clip value ", clip.value);
  return out;
}

template <class T, class B>
std::vector<Tensor<T, 1, B>> zeros_like(std::span<const ParameterRef<T>> parameters) {
  std::vector<Tensor<T, 1, B>> out;
  for (const auto& p : parameters) out.emplace_back(p.value.shape);
  return out;
}

/// The parameters of a learner that gradients have reached, as the table that the backend's kernel reads: one call of `update`,
/// on a GPU one launch, for all of them. The table is made on the first step. A step that finds the same tensors allocates and
/// copies nothing; where others got gradients, or memory has moved, the table is written anew, for which a GPU's stream is
/// waited for.
template <class T, class B>
class UpdateTable {
 public:
  /// Consumes the gradients. `first` and `second` hold a moment for each parameter, or nothing.
  View<const ParameterUpdate<T>, 1> take(B& backend, std::span<const ParameterRef<T>> parameters, std::vector<Tensor<T, 1, B>>& first,
                                         std::vector<Tensor<T, 1, B>>& second) {
    const auto at = [](std::vector<Tensor<T, 1, B>>& moment, std::size_t i, index_t begin) { return moment.empty() ? nullptr : moment[i].data() + begin; };
    return fill(backend, parameters, [&](std::size_t i, index_t begin, index_t size) {
      const auto& p = parameters[i];
      p.slot->written = false;
      return ParameterUpdate<T>{p.slot->data + begin, p.value.data + begin, at(first, i, begin), at(second, i, begin), size, p.decay};
    });
  }
  /// The gradients themselves as what is changed; does not consume them.
  View<const ParameterUpdate<T>, 1> gradients(B& backend, std::span<const ParameterRef<T>> parameters) {
    return fill(backend, parameters, [&](std::size_t i, index_t begin, index_t size) {
      T* const g = parameters[i].slot->data + begin;
      return ParameterUpdate<T>{g, g, nullptr, nullptr, size, false};
    });
  }

 private:
  template <class F>
  View<const ParameterUpdate<T>, 1> fill(B& backend, std::span<const ParameterRef<T>> parameters, F&& entry_of) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto& p = parameters[i];
      if (!p.slot->written) continue;
      for (index_t begin = 0, size; begin == 0 || begin < p.value.size(); begin += size) {
        size = std::min(p.value.size() - begin, Kernels<B>::update_piece);
        const ParameterUpdate<T> entry = entry_of(i, begin, size);
        if (size == 0) break;
        if (count == entries_.size()) entries_.emplace_back();
        if (entries_[count] != entry) entries_[count] = entry, stale_ = true;
        ++count;
      }
    }
    const Shape<1> shape{static_cast<index_t>(count)};
    if constexpr (B::host_accessible) {
      static_cast<void>(backend);
      return {entries_.data(), shape};
    } else {
      if (stale_) {
        const Shape<1> all{static_cast<index_t>(entries_.size())};
        if (copy_.size() < all.size()) {
          backend.synchronize();  // launches that a replayed step holds back may read the old table, and new memory is cleared at once
          copy_ = Tensor<ParameterUpdate<T>, 1, B>(all);
        }
        backend.transfer(copy_.data(), entries_.data(), entries_.size() * sizeof(ParameterUpdate<T>));
        stale_ = false;
      }
      return {copy_.data(), shape};
    }
  }

  std::vector<ParameterUpdate<T>> entries_;
  Tensor<ParameterUpdate<T>, 1, B> copy_;  ///< of the entries, where the backend cannot read the host's
  bool stale_ = false;                     ///< the copy differs from them
};
}  // namespace detail

/// Clips the gradients of a learner before its step. On a device backend nothing is read back: the norm becomes a factor in
/// device memory, over a table of the same kind as the optimiser's.
template <class T, class B>
class Clipper {
 public:
  void operator()(B& backend, std::span<const ParameterRef<T>> parameters, const Clip& clip) {
    if constexpr (B::host_accessible) {
      clip_gradients(backend, parameters, clip);
    } else {
      if (clip.value <= 0 && clip.norm <= 0) return;
      const auto table = table_.gradients(backend, parameters);
      if (clip.value > 0) Kernels<B>::clip_values(backend, static_cast<T>(clip.value), table);
      if (clip.norm > 0) Kernels<B>::clip_norm(backend, clip.norm, table);
    }
  }

 private:
  std::conditional_t<B::host_accessible, char, detail::UpdateTable<T, B>> table_{};
};

/// Stochastic gradient descent with momentum, in PyTorch's convention: v = momentum*v + g, w -= lr*v.
struct Sgd {
  float lr = 0.1f, momentum = 0, weight_decay = 0;
  bool nesterov = false;
  Schedule schedule{};
  Clip clip{};

  template <class T, class B>
  struct State {
    std::vector<Tensor<T, 1, B>> velocity;  ///< empty without momentum
    detail::UpdateTable<T, B> table;
    void visit_state(const StateVisitor& visit) {
      for (std::size_t i = 0; i < velocity.size(); ++i) visit("velocity." + std::to_string(i), velocity[i].view());
    }
  };
  template <class T, class B>
  State<T, B> make(std::span<const ParameterRef<T>> parameters) const {
    detail::check_options("Sgd", {{"lr", lr}, {"momentum", momentum, true}, {"weight_decay", weight_decay}}, schedule, clip);
    return {momentum > 0 ? detail::zeros_like<T, B>(parameters) : std::vector<Tensor<T, 1, B>>{}, {}};
  }
  template <class T, class B>
  void step(State<T, B>& state, B& backend, std::span<const ParameterRef<T>> parameters, double rate) const {
    std::vector<Tensor<T, 1, B>> none;
    Kernels<B>::update(backend, functor::SgdStep<T>{static_cast<T>(rate), T(momentum), T(weight_decay), nesterov},
                       state.table.take(backend, parameters, state.velocity, none));
  }
  std::string describe() const {
    return retort::detail::concat("Sgd(lr ", lr, ", momentum ", momentum, ", weight_decay ", weight_decay, nesterov ? ", nesterov" : "", detail::describe_options(schedule, clip), ")");
  }
};

namespace detail {
template <class T, class B>
struct AdamState {
  std::vector<Tensor<T, 1, B>> m, v;
  double steps = 0;
  UpdateTable<T, B> table{};
  void visit_state(const StateVisitor& visit) {
    for (std::size_t i = 0; i < m.size(); ++i) {
      visit("m." + std::to_string(i), m[i].view());
      visit("v." + std::to_string(i), v[i].view());
    }
    visit("steps", steps);
  }
};

template <class A>
void check_adam(const char* name, const A& a) {
  check_options(name, {{"lr", a.lr}, {"beta1", a.beta1, true}, {"beta2", a.beta2, true}, {"epsilon", a.epsilon}, {"weight_decay", a.weight_decay}}, a.schedule, a.clip);
}
template <class A>
std::string describe_adam(const char* name, const A& a) {
  return retort::detail::concat(name, "(lr ", a.lr, ", betas ", a.beta1, " ", a.beta2, ", epsilon ", a.epsilon, ", weight_decay ", a.weight_decay,
                                describe_options(a.schedule, a.clip), ")");
}

template <class T, class B>
AdamState<T, B> make_adam(std::span<const ParameterRef<T>> parameters) {
  return {zeros_like<T, B>(parameters), zeros_like<T, B>(parameters)};
}

template <class T, class B>
void adam(AdamState<T, B>& state, B& backend, std::span<const ParameterRef<T>> parameters, double rate, double beta1, double beta2,
          double epsilon, double decay, double decoupled) {
  const double t = ++state.steps;
  const double c1 = 1 / (1 - std::pow(beta1, t)), c2 = 1 / (1 - std::pow(beta2, t));
  Kernels<B>::update(backend,
                     functor::AdamStep<T>{static_cast<T>(rate), static_cast<T>(beta1), static_cast<T>(beta2), static_cast<T>(epsilon),
                                          static_cast<T>(c1), static_cast<T>(c2), static_cast<T>(decay), static_cast<T>(decoupled)},
                     state.table.take(backend, parameters, state.m, state.v));
}
}  // namespace detail

/// Adam (Kingma & Ba 2015); weight decay adds to the gradient.
struct Adam {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, weight_decay = 0;
  Schedule schedule{};
  Clip clip{};

  template <class T, class B>
  using State = detail::AdamState<T, B>;
  template <class T, class B>
  State<T, B> make(std::span<const ParameterRef<T>> parameters) const {
    detail::check_adam("Adam", *this);
    return detail::make_adam<T, B>(parameters);
  }
  template <class T, class B>
  void step(State<T, B>& state, B& backend, std::span<const ParameterRef<T>> parameters, double rate) const {
    detail::adam(state, backend, parameters, rate, beta1, beta2, epsilon, weight_decay, 0);
  }
  std::string describe() const { return detail::describe_adam("Adam", *this); }
};

/// AdamW (Loshchilov & Hutter 2019): weight decay shrinks the weights directly.
struct AdamW {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, weight_decay = 1e-2f;
  Schedule schedule{};
  Clip clip{};

  template <class T, class B>
  using State = detail::AdamState<T, B>;
  template <class T, class B>
  State<T, B> make(std::span<const ParameterRef<T>> parameters) const {
    detail::check_adam("AdamW", *this);
    return detail::make_adam<T, B>(parameters);
  }
  template <class T, class B>
  void step(State<T, B>& state, B& backend, std::span<const ParameterRef<T>> parameters, double rate) const {
    detail::adam(state, backend, parameters, rate, beta1, beta2, epsilon, 0, weight_decay);
  }
  std::string describe() const { return detail::describe_adam("AdamW", *this); }
};

}  // namespace retort::optim
