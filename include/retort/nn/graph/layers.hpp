#pragma once
// Graph layers. They map node features (N x in) to node features (N x out) and read the topology from the pass, so they
// mix with every layer that works row by row: nn::Sequential<nn::graph::Gcn, nn::Relu, nn::Dropout, nn::graph::Gcn>. Give
// `dropout` to a first layer rather than an nn::Dropout before it: where inputs are mostly zeros (bags of words), it and
// the product then touch the others alone.

#include <retort/autograd/ops_graph.hpp>
#include <retort/nn/linear.hpp>
#include <retort/nn/sequential.hpp>

namespace retort::nn::graph {

namespace detail {
/// The topology of the pass. Throws value_error when the data has none.
template <class T, class B>
const GraphView<T>& topology(const Pass<T, B>& pass, const char* layer) {
  require<value_error>(pass.graph != nullptr, "nn::graph::", layer, ": the batch has no graph; train on a NodeDataset or a GraphDataset");
  return *pass.graph;
}
/// x with features dropped, times w, plus bias; through the sparse inputs where x is what they describe.
template <class T, class B>
Var<T, 2> drop_linear(Pass<T, B>& pass, Var<T, 2> x, float p, Var<T, 2> w, Var<T, 1> bias = no_bias<T>()) {
  auto& tape = pass.tape;
  const bool drop = pass.train && p > 0;
  if (pass.graph && pass.graph->input && x.value.data == pass.graph->input && !x.slot && tape.kinks() == Tape<T, B>::Kinks::live) {
    const CsrView& pattern = pass.graph->features;
    const T* value = pass.graph->feature_value;
    if (drop) {
      require<value_error>(p < 1, "nn::graph: expected a dropout probability in [0, 1), got ", p);
      auto* mask = tape.template allocate_raw<std::uint8_t>(pattern.entries);
      Kernels<B>::dropout_mask(tape.backend(), pass.next_rng(), p, pattern.entries, mask);
      const View<T, 1> kept = tape.allocate(Shape<1>{pattern.entries});
      Kernels<B>::masked_scale(tape.backend(), mask, T(1) / (T(1) - static_cast<T>(p)), View<const T, 1>{value, kept.shape}, kept, Write::replace);
      value = kept.data;
    }
    return sparse_linear(tape, pattern, value, w, bias);
  }
  return linear(tape, drop ? dropout(tape, x, p, pass.next_rng()) : x, w, bias);
}
/// Adds a bias row.
template <class T, class B>
Var<T, 2> add_bias(Tape<T, B>& tape, Var<T, 2> x, Var<T, 1> bias) {
  return add(tape, x, reshape(tape, bias, Shape<2>{1, bias.size()}));
}
/// What a graph layer multiplies by: the parameters of an nn::Linear with Glorot weights.
template <class T, class B>
using Affine = Linear::State<T, B>;
template <class T, class B>
Affine<T, B> affine(const char* layer, index_t in, index_t out, bool bias, Rng& rng) {
  require<value_error>(in > 0 && out > 0, layer, ": expected positive extents, got ", in, " and ", out);
  return Linear{in, out, bias, Init::glorot}.make<T, B>(rng);
}
template <class T, class B>
Var<T, 1> bias_of(Pass<T, B>& pass, Affine<T, B>& s) {
  return s.bias.value.empty() ? no_bias<T>() : s.bias.var(pass);
}
}  // namespace detail

/// Graph convolution (Kipf & Welling 2017): Â x W + b, Â = (D+I)^-1/2 (A+I) (D+I)^-1/2. Multiplies by W first where that makes
/// rows narrower or the inputs are sparse. Glorot weights, bias 0.
struct Gcn {
  index_t in = 0, out = 0;
  float dropout = 0;  ///< on the inputs
  bool bias = true;
  template <class T, class B>
  using State = detail::Affine<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return detail::affine<T, B>("nn::graph::Gcn", in, out, bias, rng);
  }
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> x) const {
    const auto& g = detail::topology(pass, "Gcn");
    auto& tape = pass.tape;
    if (in > out || g.input) {
      const auto y = propagate(tape, g, Norm::symmetric, detail::drop_linear(pass, x, dropout, s.weight.var(pass)));
      return bias ? detail::add_bias(tape, y, s.bias.var(pass)) : y;
    }
    if (pass.train && dropout > 0) x = retort::dropout(tape, x, dropout, pass.next_rng());
    return linear(tape, propagate(tape, g, Norm::symmetric, x), s.weight.var(pass), detail::bias_of(pass, s));
  }
  std::string describe() const { return retort::detail::concat("Gcn(", in, ", ", out, ", dropout ", dropout, bias ? ")" : ", no bias)"); }
};

/// GraphSAGE (Hamilton et al. 2017), mean aggregator: x_v W_s + (mean of what v hears) W_n + b. A node that hears nobody keeps
/// its own term.
struct Sage {
  index_t in = 0, out = 0;
  float dropout = 0;  ///< on the inputs
  template <class T, class B>
  struct State {
    detail::Affine<T, B> self, heard;
    template <class F>
    void visit(F&& f) {
      self.visit(under(f, "self."));
      heard.visit(under(f, "heard."));
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    auto self = detail::affine<T, B>("nn::graph::Sage", in, out, true, rng);
    return {std::move(self), detail::affine<T, B>("nn::graph::Sage", in, out, false, rng)};
  }
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> x) const {
    const auto& g = detail::topology(pass, "Sage");
    auto& tape = pass.tape;
    if (g.input && x.value.data == g.input) {  // both products of the same sparse inputs: one mask, one pass
      const auto both = detail::drop_linear(pass, x, dropout, concat(tape, s.self.weight.var(pass), s.heard.weight.var(pass)));
      return add(tape, detail::add_bias(tape, slice(tape, both, 0, out), s.self.bias.var(pass)), propagate(tape, g, Norm::mean, slice(tape, both, out, 2 * out)));
    }
    if (pass.train && dropout > 0) x = retort::dropout(tape, x, dropout, pass.next_rng());
    const auto own = linear(tape, x, s.self.weight.var(pass), s.self.bias.var(pass));
    const auto heard = in > out ? propagate(tape, g, Norm::mean, linear(tape, x, s.heard.weight.var(pass), no_bias<T>()))
                                : linear(tape, propagate(tape, g, Norm::mean, x), s.heard.weight.var(pass), no_bias<T>());
    return add(tape, own, heard);
  }
  std::string describe() const { return retort::detail::concat("Sage(", in, ", ", out, ", dropout ", dropout, ")"); }
};

/// GraphSAGE's "gcn" aggregator: ((sum of what v hears + x_v) / (d_v + 1)) W + b. Where the graph holds its loops, v counts twice.
struct SageGcn {
  index_t in = 0, out = 0;
  float dropout = 0;  ///< on the inputs
  template <class T, class B>
  using State = detail::Affine<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return detail::affine<T, B>("nn::graph::SageGcn", in, out, true, rng);
  }
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> x) const {
    const auto& g = detail::topology(pass, "SageGcn");
    if (in > out || g.input) return detail::add_bias(pass.tape, propagate(pass.tape, g, Norm::with_self, detail::drop_linear(pass, x, dropout, s.weight.var(pass))), s.bias.var(pass));
    if (pass.train && dropout > 0) x = retort::dropout(pass.tape, x, dropout, pass.next_rng());
    return linear(pass.tape, propagate(pass.tape, g, Norm::with_self, x), s.weight.var(pass), s.bias.var(pass));
  }
  std::string describe() const { return retort::detail::concat("SageGcn(", in, ", ", out, ", dropout ", dropout, ")"); }
};

/// Graph isomorphism network (Xu et al. 2019): network((1 + epsilon) x_v + sum of what v hears). Network: any layers over rows,
/// usually Linear, BatchNorm, Relu, Linear.
template <class Network>
struct Gin {
  Network network;
  float epsilon = 0;
  template <class T, class B>
  using State = typename Network::template State<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return network.template make<T, B>(rng);
  }
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> x) const {
    const auto heard = propagate(pass.tape, detail::topology(pass, "Gin"), Norm::sum, x);
    return result_of(network.forward(s, pass, add(pass.tape, scale(pass.tape, T(1) + static_cast<T>(epsilon), x), heard)));
  }
  std::string describe() const { return "Gin(" + network.describe() + ")"; }
};
template <class Network>
Gin(Network, float = 0) -> Gin<Network>;

/// Simplified graph convolution (Wu et al. 2019): Â^k x W (+ b).
struct Sgc {
  index_t in = 0, out = 0;
  int hops = 2;
  bool bias = false;
  template <class T, class B>
  using State = detail::Affine<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(hops >= 1, "nn::graph::Sgc: expected at least 1 hop, got ", hops);
    return detail::affine<T, B>("nn::graph::Sgc", in, out, bias, rng);
  }
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> x) const {
    const auto& g = detail::topology(pass, "Sgc");
    auto& tape = pass.tape;
    const bool narrow_first = in > out || g.input;
    if (narrow_first) x = detail::drop_linear(pass, x, 0, s.weight.var(pass));
    for (int k = 0; k < hops; ++k) x = propagate(tape, g, Norm::symmetric, x);
    if (!narrow_first) return linear(tape, x, s.weight.var(pass), detail::bias_of(pass, s));
    return bias ? detail::add_bias(tape, x, s.bias.var(pass)) : x;
  }
  std::string describe() const { return retort::detail::concat("Sgc(", in, ", ", out, ", ", hops, bias ? " hops, bias)" : " hops)"); }
};

/// Personalised propagation (Gasteiger et al. 2019, APPNP), behind the layers that make H: Z = H, then `hops` times
/// Z = (1 - teleport) Â Z + teleport H. `dropout` is on the entries of Â, drawn anew in each hop.
struct Appnp : Stateless {
  int hops = 10;
  float teleport = 0.1f, dropout = 0;
  Appnp() = default;
  explicit Appnp(int hops_, float teleport_ = 0.1f, float dropout_ = 0) : hops(hops_), teleport(teleport_), dropout(dropout_) {}

  template <class T, class B>
  Var<T, 2> forward(NoState&, Pass<T, B>& pass, Var<T, 2> h) const {
    const auto& g = detail::topology(pass, "Appnp");
    auto& tape = pass.tape;
    const auto own = scale(tape, static_cast<T>(teleport), h);
    Var<T, 2> z = h;
    for (int k = 0; k < hops; ++k) {
      Var<T, 2> heard;
      if (pass.train && dropout > 0) {
        const Var<T, 2> a = tape.constant(View<const T, 2>{g.weights(Norm::symmetric), {g.edges.entries, 1}});
        heard = propagate(tape, g.edges, retort::dropout(tape, a, dropout, pass.next_rng()), z);
      } else {
        heard = propagate(tape, g, Norm::symmetric, z);
      }
      z = add(tape, scale(tape, T(1) - static_cast<T>(teleport), heard), own);
    }
    return z;
  }
  std::string describe() const { return retort::detail::concat("Appnp(", hops, ", ", teleport, ", dropout ", dropout, ")"); }
};

/// Graph attention (Velickovic et al. 2018): e_uv = LeakyReLU(a_l . W x_u + a_r . W x_v), w = softmax over what v hears (itself
/// included), y_v = sum_u w_uv W x_u + b. `out` features per head; heads side by side, or their mean (`average`).
struct Gat {
  index_t in = 0, out = 0;
  int heads = 8;
  bool average = false;
  float dropout = 0;            ///< on the inputs
  float attention_dropout = 0;  ///< on w
  float slope = 0.2f;
  template <class T, class B>
  struct State {
    Parameter<T, 2, B> weight, source, target;  ///< in x (heads * out); 1 x (heads * out)
    Parameter<T, 1, B> bias;
    template <class F>
    void visit(F&& f) {
      f("weight", weight);
      f("source", source);
      f("target", target);
      f("bias", bias);
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(in > 0 && out > 0 && heads >= 1, "nn::graph::Gat: expected positive extents and at least 1 head, got ", in, ", ", out, ", ", heads);
    const index_t width = heads * out;
    State<T, B> s{Parameter<T, 2, B>(Shape{in, width}), Parameter<T, 2, B>(Shape{index_t{1}, width}), Parameter<T, 2, B>(Shape{index_t{1}, width}),
                  Parameter<T, 1, B>(Shape{average ? out : width})};
    initialise(s.weight, Init::glorot, in, width, rng);
    initialise(s.source, Init::glorot, out, 1, rng);
    initialise(s.target, Init::glorot, out, 1, rng);
    return s;
  }
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> x) const {
    const auto& g = detail::topology(pass, "Gat");
    auto& tape = pass.tape;
    const index_t n = x.extent(0);
    const auto h = detail::drop_linear(pass, x, dropout, s.weight.var(pass));
    const auto score = [&](Parameter<T, 2, B>& a) {  // a . h, head by head
      const auto products = reshape(tape, multiply(tape, h, a.var(pass)), Shape<2>{n * heads, out});
      return reshape(tape, sum_axis(tape, products, 1), Shape<2>{n, heads});
    };
    auto w = edge_softmax(tape, g.edges, activate(tape, functor::LeakyRelu{slope}, edge_sums(tape, g.edges, score(s.source), score(s.target))));
    if (pass.train && attention_dropout > 0) w = retort::dropout(tape, w, attention_dropout, pass.next_rng());
    auto y = propagate(tape, g.edges, w, h);
    if (average && heads > 1) y = reshape(tape, mean_axis(tape, reshape(tape, y, Shape<3>{n, heads, out}), 1), Shape<2>{n, out});
    return detail::add_bias(tape, y, s.bias.var(pass));
  }
  std::string describe() const {
    return retort::detail::concat("Gat(", in, ", ", heads, " x ", out, average ? " averaged" : "", ", dropout ", dropout, ", ", attention_dropout, ")");
  }
};

/// One row per graph: the sum, mean or maximum of its nodes' rows. A linear layer usually follows.
enum class PoolKind { sum, mean, max };
struct Pool : Stateless {
  PoolKind kind = PoolKind::mean;
  Pool() = default;
  explicit Pool(PoolKind k) : kind(k) {}
  template <class T, class B>
  Var<T, 2> forward(NoState&, Pass<T, B>& pass, Var<T, 2> x) const {
    const auto ptr = detail::topology(pass, "Pool").graph_ptr;
    return kind == PoolKind::sum ? segment_sum(pass.tape, ptr, x) : kind == PoolKind::mean ? segment_mean(pass.tape, ptr, x) : segment_max(pass.tape, ptr, x);
  }
  std::string describe() const { return kind == PoolKind::sum ? "Pool(sum)" : kind == PoolKind::mean ? "Pool(mean)" : "Pool(max)"; }
};

}  // namespace retort::nn::graph
