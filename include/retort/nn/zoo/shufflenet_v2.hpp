#pragma once

#include <retort/nn/pool.hpp>
#include <retort/nn/zoo/tags.hpp>

namespace retort::nn::zoo {

namespace detail {
using ShuffleBranch = Sequential<Conv2d, BatchNorm, Relu, Conv2d, BatchNorm, Conv2d, BatchNorm, Relu>;
using ShuffleSide = Sequential<Conv2d, BatchNorm, Conv2d, BatchNorm, Relu>;

/// Two halves of the channels: one goes through the branch, the other passes, or, where the resolution falls, all channels
/// go through both; joined and interleaved.
struct ShuffleUnit {
  ShuffleBranch branch;
  Maybe<ShuffleSide> side;  ///< present where the resolution falls

  template <class T, class B>
  struct State {
    ShuffleBranch::State<T, B> branch;
    Maybe<ShuffleSide>::State<T, B> side;
    template <class F>
    void visit(F&& f) {
      branch.visit(under(f, "branch."));
      side.visit(under(f, "side."));
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    auto b = branch.make<T, B>(rng);
    return {std::move(b), side.make<T, B>(rng)};
  }
  template <class T, class B>
  Var<T, 4> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 4> x) const {
    auto& tape = pass.tape;
    if (side.layer) return shuffle_channels(tape, 2, concat(tape, side.forward(s.side, pass, x), branch.forward(s.branch, pass, x)));
    const index_t half = x.extent(3) / 2;
    return shuffle_channels(tape, 2, concat(tape, slice(tape, x, 0, half), branch.forward(s.branch, pass, slice(tape, x, half, 2 * half))));
  }
  std::string describe() const { return "ShuffleUnit(" + branch.describe() + ", " + side.describe() + ")"; }
};

inline ShuffleUnit shuffle_unit(index_t in, index_t out, bool down) {
  const index_t half = out / 2, from = down ? in : half;
  ShuffleUnit unit{ShuffleBranch(plain_conv(from, half, 1), BatchNorm{half}, Relu{}, plain_conv(half, half, 3, down ? 2 : 1, half), BatchNorm{half},
                                 plain_conv(half, half, 1), BatchNorm{half}, Relu{}),
                   {}};
  if (down)
    unit.side.layer = ShuffleSide(plain_conv(in, in, 3, 2, in), BatchNorm{in}, plain_conv(in, half, 1), BatchNorm{half}, Relu{});
  return unit;
}
}  // namespace detail

using ShuffleStage = Repeat<detail::ShuffleUnit>;

/// ShuffleNetV2 (Ma et al. 2018) for 32 x 32 images as the distillation literature has it: a 1x1 stem without pooling. Taps:
/// stem, stage 1 to 3, pooled, classifier.
using ShuffleNetV2 = Sequential<Unit, Tap<stem>, ShuffleStage, Tap<stage<1>>, ShuffleStage, Tap<stage<2>>, ShuffleStage, Tap<stage<3>>, Unit, GlobalAveragePool,
                                Tap<pooled>, Head>;

/// Widths of the three stages and of the last convolution; the default is size 1. Throws value_error for odd widths.
inline ShuffleNetV2 shufflenet_v2(int classes = 100, std::array<index_t, 4> widths = {116, 232, 464, 1024}, index_t channels = 3) {
  index_t at = 24;
  const auto make = [&](index_t width, int units) {
    require<value_error>(width > 0 && width % 2 == 0, "zoo::shufflenet_v2: expected even widths, got ", width);
    ShuffleStage s;
    for (int i = 0; i <= units; ++i) s.blocks.push_back(detail::shuffle_unit(i == 0 ? at : width, width, i == 0));
    at = width;
    return s;
  };
  auto first = make(widths[0], 3), second = make(widths[1], 7), third = make(widths[2], 3);
  return ShuffleNetV2(Unit(plain_conv(channels, 24, 1), BatchNorm{24}, Relu{}), {}, std::move(first), {}, std::move(second), {}, std::move(third), {},
                      Unit(plain_conv(at, widths[3], 1), BatchNorm{widths[3]}, Relu{}), {}, {}, Head{Linear{widths[3], classes}});
}

}  // namespace retort::nn::zoo
