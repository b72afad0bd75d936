#pragma once

#include <retort/nn/graph/layers.hpp>

namespace retort::nn::graph {

/// The student of CPF (Yang et al. 2021, "Extract the Knowledge of Graph Neural Networks and Go Beyond it"): parameterised label
/// propagation beside a perceptron on the features. F_v starts as the one-hot label of a training node, 1/C elsewhere; then
/// (steps - 1) times, with the same parameters,
///   w_uv = softmax over what v hears (itself included) of a . x_u
///   H_v  = ReLU(sigm(g_v) * sum_u w_uv F_u + sigm(-g_v) * MLP(x_v)),
/// and training nodes take their label again. Result: F, which the losses treat as logits. `nodes`: of the one graph it is for
/// (a gate g_v per node; transductive). Dropout on the features of attention and MLP and on w, drawn anew in each step.
struct Plp {
  index_t in = 0, classes = 0, nodes = 0;
  int steps = 10;
  index_t hidden = 64;
  float feature_dropout = 0.8f, attention_dropout = 0.2f;

  template <class T, class B>
  struct State {
    Parameter<T, 2, B> attention, gate;  ///< in x 1; nodes x 1
    detail::Affine<T, B> hidden, last;
    template <class F>
    void visit(F&& f) {
      f("attention", attention);
      f("gate", gate);
      hidden.visit(under(f, "hidden."));
      last.visit(under(f, "last."));
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(in > 0 && classes >= 2 && nodes > 0 && hidden > 0 && steps >= 2, describe(), ": expected positive extents, 2 classes and 2 steps at least");
    Parameter<T, 2, B> attention(Shape{in, index_t{1}});
    const double deviation = std::sqrt(2.0) * std::sqrt(2.0 / static_cast<double>(in + 1));  // Xavier normal with gain sqrt 2
    std::vector<T> host(static_cast<std::size_t>(in));
    for (T& a : host) a = static_cast<T>(deviation * rng.normal());
    B::copy(attention.value.data(), host.data(), host.size() * sizeof(T));
    auto first = detail::affine<T, B>("nn::graph::Plp", in, hidden, true, rng);
    return {std::move(attention), Parameter<T, 2, B>(Shape{nodes, index_t{1}}), std::move(first), detail::affine<T, B>("nn::graph::Plp", hidden, classes, true, rng)};
  }
  /// Throws shape_error for a graph of another number of nodes.
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> x) const {
    const auto& g = detail::topology(pass, "Plp");
    auto& tape = pass.tape;
    require<shape_error>(x.extent(0) == nodes && g.labels.size() == nodes, "nn::graph::Plp: made for a graph of ", nodes, " nodes, got features of shape ", to_string(x.shape()),
                         " and ", g.labels.size(), " labels");
    // F = start + open * H: the clamp of the training nodes without a branch.
    const View<T, 2> start = tape.allocate(Shape<2>{nodes, classes}), fixed = tape.allocate(Shape<2>{nodes, classes}), open = tape.allocate(Shape<2>{nodes, 1});
    Kernels<B>::fill(tape.backend(), T(0), fixed);
    for (index_t v = 0; v < nodes; ++v) {
      const std::int32_t y = g.labels.data[v];
      open(v, 0) = y < 0 ? T(1) : T(0);
      if (y >= 0) fixed(v, y) = T(1);
      for (index_t c = 0; c < classes; ++c) start(v, c) = y < 0 ? T(1) / static_cast<T>(classes) : fixed(v, c);
    }
    const auto sigmoid = [&](Var<T, 2> z) { return activate(tape, functor::Sigmoid{}, z); };
    const auto drop = [&](Var<T, 2> z, float p) { return pass.train && p > 0 ? retort::dropout(tape, z, p, pass.next_rng()) : z; };
    const auto gate = s.gate.var(pass);
    const auto heard_share = sigmoid(gate), own_share = sigmoid(scale(tape, T(-1), gate));
    const auto attention = s.attention.var(pass), w1 = s.hidden.weight.var(pass), w2 = s.last.weight.var(pass);
    const auto b1 = s.hidden.bias.var(pass), b2 = s.last.bias.var(pass);
    Var<T, 2> f = tape.constant(start), w{}, own{};
    for (int step = 1; step < steps; ++step) {
      if (pass.train || step == 1) {  // nothing is dropped in evaluation, where all steps are alike
        w = drop(edge_softmax(tape, g.edges, edge_sums(tape, g.edges, linear(tape, drop(x, feature_dropout), attention, no_bias<T>()))), attention_dropout);
        own = linear(tape, drop(linear(tape, drop(x, feature_dropout), w1, b1, Epilogue::relu), feature_dropout), w2, b2);
      }
      const auto h = activate(tape, functor::Relu{}, add(tape, multiply(tape, heard_share, propagate(tape, g.edges, w, f)), multiply(tape, own_share, own)));
      f = add(tape, tape.constant(fixed), multiply(tape, tape.constant(open), h));
    }
    return f;
  }
  std::string describe() const {
    return retort::detail::concat("Plp(", in, ", ", classes, ", ", nodes, " nodes, ", steps, " steps, hidden ", hidden, ", dropout ", feature_dropout, ", ", attention_dropout, ")");
  }
};

}  // namespace retort::nn::graph
