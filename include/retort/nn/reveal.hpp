#pragma once
// Layers around layers: revealed parameters, parameters that stand still, side branches and several networks as one.

#include <retort/nn/batch_norm.hpp>
#include <retort/nn/linear.hpp>
#include <retort/nn/sequential.hpp>

namespace retort {

/// A tapped batch norm: its output (before a ReLU behind it), its factor and its shift.
template <class V>
struct NormTap {
  V value;
  Var<typename V::value_type, 1> gamma, beta;
};
/// A tapped classifier: its output and the map itself, so that a loss can apply it to other features.
template <class T>
struct LinearTap {
  Var<T, 2> value, weight;
  Var<T, 1> bias;
};

/// The feature of a tap, whatever else it reveals.
template <class T, int R>
Var<T, R> feature_of(Var<T, R> v) { return v; }
template <class V>
V feature_of(const NormTap<V>& v) { return v.value; }
template <class T>
Var<T, 2> feature_of(const LinearTap<T>& v) { return v.value; }

namespace nn {

/// A tap at a layer that also hands out the layer's parameters: a Linear gives a LinearTap (SRRL), a BatchNorm a NormTap
/// (OFD). A ReLU behind it is not fused, so the tap is the pre-activation.
template <class Tag, class Layer>
struct Reveal {
  static_assert(std::is_same_v<Layer, Linear> || std::is_same_v<Layer, BatchNorm>,
                "retort: nn::Reveal shows the parameters of an nn::Linear or an nn::BatchNorm; see retort/nn/reveal.hpp");
  Layer layer;
  template <class T, class B>
  using State = typename Layer::template State<T, B>;

  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return layer.template make<T, B>(rng);
  }
  template <class T, class B, class V>
  auto forward(State<T, B>& s, Pass<T, B>& pass, V x) const {
    const auto y = layer.forward(s, pass, x);
    const auto show = [&](auto tapped) { return Output<std::remove_const_t<decltype(y)>, Tapped<Tag, decltype(tapped)>>{y, {{tapped}}}; };
    if constexpr (std::is_same_v<Layer, Linear>)
      return show(LinearTap<T>{y, s.weight.var(pass), layer.bias ? s.bias.var(pass) : no_bias<T>()});
    else
      return show(NormTap<std::remove_const_t<decltype(y)>>{y, s.gamma.var(pass), s.beta.var(pass)});
  }
  std::string describe() const { return "Reveal(" + layer.describe() + ")"; }
};

/// A layer that does not learn: evaluation mode, and its parameters are buffers to optimisers and checkpoints. SimKD's
/// student ends in the teacher's classifier this way: copy the weights into the network, then train what is before it.
template <class Layer>
struct Fixed {
  Layer layer;
  template <class T, class B>
  struct State {
    typename Layer::template State<T, B> state;
    template <class F>
    void visit(F&& f) {
      state.visit([&](const std::string& name, auto& p) {
        struct {
          decltype((p.value)) value;
        } held{p.value};
        f(name, held);
      });
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return {layer.template make<T, B>(rng)};
  }
  template <class T, class B, class V>
  auto forward(State<T, B>& s, Pass<T, B>& pass, V x) const {
    auto frozen = Pass<T, B>::frozen(pass.tape);
    return layer.forward(s.state, frozen, x);
  }
  std::string describe() const { return "Fixed(" + layer.describe() + ")"; }
};

/// A side branch: what flows through goes on unchanged, and `tap<Tag>` is the branch's answer to it (BYOT's shallow
/// classifiers). Taps inside the branch stay visible.
template <class Tag, class Side>
struct Branch {
  Side side;
  template <class T, class B>
  using State = typename Side::template State<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return side.template make<T, B>(rng);
  }
  template <class T, class B, class V>
  auto forward(State<T, B>& s, Pass<T, B>& pass, V x) const {
    const auto y = side.forward(s, pass, x);
    const auto own = std::tuple{Tapped<Tag, std::remove_const_t<decltype(result_of(y))>>{result_of(y)}};
    const auto all = [&] {
      if constexpr (requires { y.taps; })
        return std::tuple_cat(own, y.taps);
      else
        return own;
    }();
    return with_taps(x, all);
  }
  std::string describe() const { return "Branch(" + side.describe() + ")"; }

 private:
  template <class V, class... Taps>
  static auto with_taps(V x, const std::tuple<Taps...>& taps) {
    return Output<V, Taps...>{x, taps};
  }
};

/// Tag of the logits of member I of a Cohort.
template <std::size_t I>
struct member;

/// Several networks that answer the same batch and learn together (deep mutual learning). The result is the first one's;
/// `tap<nn::member<I>>` are the logits of each.
template <class... Nets>
struct Cohort {
  retort::detail::Tuple<Nets...> nets;
  explicit Cohort(Nets... n) : nets{{std::move(n)}...} {}
  static constexpr std::size_t size = sizeof...(Nets);

  template <class T, class B>
  using State = StateTuple<typename Nets::template State<T, B>...>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return nets.apply([&](const auto&... n) { return State<T, B>{{{n.template make<T, B>(rng)}...}}; });
  }
  template <class T, class B, class V>
  auto forward(State<T, B>& s, Pass<T, B>& pass, V x) const {
    return answer(s, pass, x, std::index_sequence_for<Nets...>{});
  }
  std::string describe() const {
    std::string out = "Cohort(";
    nets.apply([&](const auto&... n) { ((out += (out.back() == '(' ? "" : ", ") + n.describe()), ...); });
    return out + ")";
  }

 private:
  template <class T, class B, class V, std::size_t... I>
  auto answer(State<T, B>& s, Pass<T, B>& pass, V x, std::index_sequence<I...>) const {
    const std::tuple logits{result_of(retort::detail::get<I>(nets).forward(retort::detail::get<I>(s.states), pass, x))...};  // braces: in order
    return Output<Var<T, 2>, Tapped<member<I>, Var<T, 2>>...>{std::get<0>(logits), {{std::get<I>(logits)}...}};
  }
};

}  // namespace nn
}  // namespace retort
