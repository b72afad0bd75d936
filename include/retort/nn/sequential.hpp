#pragma once
// Networks as compile-time tuples of layers, with typed feature taps.

#include <retort/core/tuple.hpp>
#include <retort/nn/activation.hpp>
#include <retort/nn/layer.hpp>
#include <tuple>

namespace retort {

/// A value with a tag, as a feature tap delivers it.
template <class Tag, class V>
struct Tapped {
  using tag = Tag;
  V value;
};

/// What a network with taps returns: its result (logits, as a rule) and the tapped features.
template <class V, class... Taps>
struct Output {
  V value;
  std::tuple<Taps...> taps;
};

namespace detail {
template <class Tag, class O>
struct has_tap : std::false_type {};
template <class Tag, class V, class... Taps>
struct has_tap<Tag, Output<V, Taps...>> : std::bool_constant<(std::is_same_v<Tag, typename Taps::tag> || ...)> {};
}  // namespace detail

/// Whether a network's output type carries the tap `Tag`.
template <class O, class Tag>
concept HasTap = detail::has_tap<Tag, std::remove_cvref_t<O>>::value;

/// The result proper of a network, with or without taps.
template <class T, int R>
Var<T, R> result_of(Var<T, R> v) { return v; }
template <class V, class... Taps>
V result_of(const Output<V, Taps...>& o) { return o.value; }

/// The tapped feature of that tag.
template <class Tag, class O>
auto tap(const O& output) {
  static_assert(HasTap<O, Tag>,
                "retort: a feature tap is missing: a policy asks this network for a tap that it does not have. Put "
                "nn::Tap<Tag> behind the layer whose output is wanted; see retort/nn/sequential.hpp");
  if constexpr (HasTap<O, Tag>)
    return std::apply(
        [](const auto&... taps) {
          auto pick = [](auto&& self, const auto& first, const auto&... rest) {
            if constexpr (std::is_same_v<typename std::remove_cvref_t<decltype(first)>::tag, Tag>)
              return first.value;
            else
              return self(self, rest...);
          };
          return pick(pick, taps...);
        },
        output.taps);
}

namespace nn {

/// Makes the value that flows through it available as `tap<Tag>(output)`. `Tag` is any type, e.g. `struct stage2;`.
template <class Tag>
struct Tap : Stateless {
  template <class T, class B, int R>
  auto forward(NoState&, Pass<T, B>&, Var<T, R> x) const {
    return Output<Var<T, R>, Tapped<Tag, Var<T, R>>>{x, {{x}}};
  }
  std::string describe() const { return "Tap"; }
};

/// Whether an architecture has a feature tap somewhere.
template <class Architecture>
inline constexpr bool has_taps = false;
template <class Tag>
inline constexpr bool has_taps<Tap<Tag>> = true;

/// States side by side; entries are named by position.
template <class... States>
struct StateTuple {
  retort::detail::Tuple<States...> states;
  template <class F>
  void visit(F&& f) {
    visit_each(f, std::index_sequence_for<States...>{});
  }

 private:
  template <class F, std::size_t... I>
  void visit_each(F& f, std::index_sequence<I...>) {
    (visit_one<I>(f), ...);
  }
  template <std::size_t I, class F>
  void visit_one(F& f) {  // apart: nvcc cannot expand a pack that a lambda captures
    retort::detail::get<I>(states).visit([&](const std::string& name, auto& entry) { f(std::to_string(I) + "." + name, entry); });
  }
};

/// Layers one after the other. A ReLU behind a layer that can apply it while storing (Linear, Conv2d, BatchNorm) is fused.
template <class... Layers>
struct Sequential {
  retort::detail::Tuple<Layers...> layers;

  constexpr Sequential() : layers{} {}
  explicit constexpr Sequential(Layers... l)
    requires(sizeof...(Layers) > 0)
      : layers{{std::move(l)}...} {}

  template <class T, class B>
  using State = StateTuple<typename Layers::template State<T, B>...>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return layers.apply([&](const auto&... l) { return State<T, B>{{{l.template make<T, B>(rng)}...}}; });
  }
  template <class T, class B, class V>
  auto forward(State<T, B>& s, Pass<T, B>& pass, V x) const {
    return step<0>(s, pass, x, std::tuple<>{});
  }
  std::string describe() const {
    std::string out = "Sequential(";
    layers.apply([&](const auto&... l) { ((out += (out.back() == '(' ? "" : ", ") + l.describe()), ...); });
    return out + ")";
  }

 private:
  template <std::size_t I>
  using Layer = std::remove_cvref_t<decltype(retort::detail::get<I>(std::declval<retort::detail::Tuple<Layers...>&>()))>;
  template <std::size_t I>
  static constexpr bool relu_follows() {
    if constexpr (I + 1 < sizeof...(Layers))
      return std::is_same_v<Layer<I + 1>, Relu> && requires { Layer<I>::fuses_relu; };
    else
      return false;
  }
  template <class V, class... Taps>
  static auto finish(V value, std::tuple<Taps...> taps) {
    if constexpr (sizeof...(Taps) == 0)
      return value;
    else
      return Output<V, Taps...>{value, taps};
  }
  template <std::size_t I, class T, class B, class V, class Taps>
  auto step(State<T, B>& s, Pass<T, B>& pass, V x, Taps taps) const {
    if constexpr (I == sizeof...(Layers)) {
      return finish(x, taps);
    } else if constexpr (relu_follows<I>()) {
      return step<I + 2>(s, pass, retort::detail::get<I>(layers).forward(retort::detail::get<I>(s.states), pass, x, Epilogue::relu), taps);
    } else {
      auto y = retort::detail::get<I>(layers).forward(retort::detail::get<I>(s.states), pass, x);
      if constexpr (requires { y.taps; })
        return step<I + 1>(s, pass, y.value, std::tuple_cat(taps, y.taps));
      else
        return step<I + 1>(s, pass, y, taps);
    }
  }
};
template <class... Layers>
inline constexpr bool has_taps<Sequential<Layers...>> = (has_taps<Layers> || ...);

/// Passes its input on: the plain shortcut.
struct Identity : Stateless {
  template <class T, class B, int R>
  Var<T, R> forward(NoState&, Pass<T, B>&, Var<T, R> x) const {
    return x;
  }
  std::string describe() const { return "Identity"; }
};

/// body(x) + shortcut(x) (He et al. 2016). Taps inside the body stay visible.
template <class Body, class Shortcut = Identity>
struct Residual {
  Body body;
  Shortcut shortcut;

  constexpr Residual() = default;
  explicit constexpr Residual(Body b, Shortcut s = {}) : body(std::move(b)), shortcut(std::move(s)) {}

  template <class T, class B>
  struct State {
    typename Body::template State<T, B> body;
    typename Shortcut::template State<T, B> shortcut;
    template <class F>
    void visit(F&& f) {
      body.visit([&](const std::string& name, auto& entry) { f("body." + name, entry); });
      shortcut.visit([&](const std::string& name, auto& entry) { f("shortcut." + name, entry); });
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    auto b = body.template make<T, B>(rng);
    return {std::move(b), shortcut.template make<T, B>(rng)};
  }
  template <class T, class B, class V>
  auto forward(State<T, B>& s, Pass<T, B>& pass, V x) const {
    auto inner = body.forward(s.body, pass, x);
    const auto sum = add(pass.tape, result_of(inner), shortcut.forward(s.shortcut, pass, x));
    if constexpr (requires { inner.taps; }) {
      inner.value = sum;
      return inner;
    } else {
      return sum;
    }
  }
  std::string describe() const { return "Residual(" + body.describe() + ", " + shortcut.describe() + ")"; }
};

}  // namespace nn
}  // namespace retort
