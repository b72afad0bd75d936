#pragma once

#include <retort/nn/pool.hpp>
#include <retort/nn/zoo/tags.hpp>

namespace retort::nn::zoo {

namespace detail {
/// batch norm, ReLU, convolution, twice: what a pre-activated block adds to its shortcut.
using PreactBody = Sequential<Conv2d, BatchNorm, Relu, Conv2d>;
/// A block behind whose shared first batch norm and ReLU, `Norm`, the shortcut projects (where the width changes). Taps of
/// `Norm` stay visible.
template <class Norm>
struct WideBlock {
  Norm norm;
  PreactBody body;
  Maybe<Conv2d> shortcut;

  template <class T, class B>
  struct State {
    typename Norm::template State<T, B> norm;
    PreactBody::State<T, B> body;
    Maybe<Conv2d>::State<T, B> shortcut;
    template <class F>
    void visit(F&& f) {
      norm.visit(under(f, "norm."));
      body.visit(under(f, "body."));
      shortcut.visit(under(f, "shortcut."));
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    auto n = norm.template make<T, B>(rng);
    auto b = body.make<T, B>(rng);
    return {std::move(n), std::move(b), shortcut.make<T, B>(rng)};
  }
  template <class T, class B>
  auto forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 4> x) const {
    auto y = norm.forward(s.norm, pass, x);
    const auto active = result_of(y);
    const auto sum = add(pass.tape, body.forward(s.body, pass, active), shortcut.layer ? shortcut.forward(s.shortcut, pass, active) : x);
    if constexpr (requires { y.taps; }) {
      y.value = sum;
      return y;
    } else {
      return sum;
    }
  }
  std::string describe() const { return "WideBlock(" + norm.describe() + ", " + body.describe() + ", " + shortcut.describe() + ")"; }
};
using PlainWideBlock = WideBlock<Sequential<BatchNorm, Relu>>;

inline PreactBody preact_body(index_t in, index_t out, int stride) {
  return PreactBody(plain_conv(in, out, 3, stride), BatchNorm{out}, Relu{}, plain_conv(out, out));
}
}  // namespace detail

/// The first block of a stage behind the first: its batch norm's output is the pre-activation of the stage before.
template <int Before>
using WideTransition = detail::WideBlock<Sequential<Reveal<preact<Before>, BatchNorm>, Relu>>;

/// A wide residual network, WRN-d-k (Zagoruyko & Komodakis 2016), for 32 x 32 images. Taps: stem (the first convolution),
/// stage 1 to 3 (sums, as published: a pre-activated network has no activation there), preact 1 to 3 (the batch norms that
/// follow, revealed), pooled, classifier.
using WideResNet = Sequential<Conv2d, Tap<stem>, Repeat<detail::PlainWideBlock>, Tap<stage<1>>, WideTransition<1>, Repeat<detail::PlainWideBlock>, Tap<stage<2>>,
                              WideTransition<2>, Repeat<detail::PlainWideBlock>, Tap<stage<3>>, Reveal<preact<3>, BatchNorm>, Relu, GlobalAveragePool,
                              Tap<pooled>, Head>;

/// `depth` = 6n + 4, `widen` >= 1. Throws value_error otherwise.
inline WideResNet wide_resnet(int depth, index_t widen, int classes = 100, index_t channels = 3) {
  require<value_error>(depth >= 10 && (depth - 4) % 6 == 0 && widen >= 1, "zoo::wide_resnet: expected a depth of 6n + 4 and a widening of at least 1, got ",
                       depth, " and ", widen);
  using Block = detail::PlainWideBlock;
  const int n = (depth - 4) / 6;
  const index_t w1 = 16 * widen, w2 = 32 * widen, w3 = 64 * widen;
  const auto block = [](index_t in, index_t out) {
    Block b{Sequential<BatchNorm, Relu>(BatchNorm{in}, Relu{}), detail::preact_body(in, out, 1), {}};
    if (in != out) b.shortcut.layer = plain_conv(in, out, 1);
    return b;
  };
  const auto blocks = [&](int count, index_t width) { return Repeat<Block>{std::vector<Block>(static_cast<std::size_t>(count), block(width, width))}; };
  Repeat<Block> first = blocks(n - 1, w1);
  first.blocks.insert(first.blocks.begin(), block(16, w1));
  const auto transition = [](auto tag, index_t in, index_t out) {
    using Norm = Reveal<preact<tag>, BatchNorm>;
    return WideTransition<tag>{Sequential<Norm, Relu>(Norm{BatchNorm{in}}, Relu{}), detail::preact_body(in, out, 2), {plain_conv(in, out, 1, 2)}};
  };
  return WideResNet(plain_conv(channels, 16), {}, std::move(first), {}, transition(std::integral_constant<int, 1>{}, w1, w2), blocks(n - 1, w2), {},
                    transition(std::integral_constant<int, 2>{}, w2, w3), blocks(n - 1, w3), {}, Reveal<preact<3>, BatchNorm>{BatchNorm{w3}}, Relu{}, {}, {},
                    Head{Linear{w3, classes}});
}

}  // namespace retort::nn::zoo
