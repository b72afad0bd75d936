#pragma once
// Layers whose number or presence is known at run time only: depth is a size, not a type.

#include <optional>
#include <retort/nn/layer.hpp>
#include <retort/nn/sequential.hpp>
#include <vector>

namespace retort::nn {

/// Any number of blocks of one type, one after the other. Blocks may differ in their extents; they have no taps.
template <class Block>
struct Repeat {
  std::vector<Block> blocks;

  template <class T, class B>
  struct State {
    std::vector<typename Block::template State<T, B>> states;
    template <class F>
    void visit(F&& f) {
      for (std::size_t i = 0; i < states.size(); ++i) states[i].visit(under(f, std::to_string(i) + "."));
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    State<T, B> s;
    for (const Block& b : blocks) s.states.push_back(b.template make<T, B>(rng));
    return s;
  }
  template <class T, class B, class V>
  V forward(State<T, B>& s, Pass<T, B>& pass, V x) const {
    for (std::size_t i = 0; i < blocks.size(); ++i) x = blocks[i].forward(s.states[i], pass, x);
    return x;
  }
  std::string describe() const {
    std::string out = "Repeat(";
    for (const Block& b : blocks) out += (out.back() == '(' ? "" : ", ") + b.describe();
    return out + ")";
  }
};

/// A layer that may be absent; then its input passes unchanged.
template <class Layer>
struct Maybe {
  std::optional<Layer> layer;

  template <class T, class B>
  struct State {
    std::optional<typename Layer::template State<T, B>> state;
    template <class F>
    void visit(F&& f) {
      if (state) state->visit(f);
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    State<T, B> s;
    if (layer) s.state.emplace(layer->template make<T, B>(rng));
    return s;
  }
  template <class T, class B, class V>
  V forward(State<T, B>& s, Pass<T, B>& pass, V x) const {
    return layer ? layer->forward(*s.state, pass, x) : x;
  }
  std::string describe() const { return layer ? layer->describe() : "Identity"; }
};

/// body(x) + x where `skip`, else body(x) (MobileNetV2's bottlenecks of stride 1).
template <class Body>
struct OptionalResidual {
  Body body;
  bool skip = true;
  template <class T, class B>
  using State = typename Body::template State<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return body.template make<T, B>(rng);
  }
  template <class T, class B, class V>
  V forward(State<T, B>& s, Pass<T, B>& pass, V x) const {
    const V y = body.forward(s, pass, x);
    return skip ? add(pass.tape, x, y) : y;
  }
  std::string describe() const { return (skip ? "Residual(" : "Plain(") + body.describe() + ")"; }
};

}  // namespace retort::nn
