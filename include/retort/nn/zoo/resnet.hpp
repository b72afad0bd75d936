#pragma once

#include <retort/nn/pool.hpp>
#include <retort/nn/zoo/tags.hpp>

namespace retort::nn::zoo {

namespace detail {
using BasicBlock = Residual<Sequential<Conv2d, BatchNorm, Relu, Conv2d, BatchNorm>, Maybe<Projection>>;

inline BasicBlock basic_block(index_t in, index_t out, int stride) {
  Maybe<Projection> shortcut;
  if (stride != 1 || in != out) shortcut.layer = Projection(plain_conv(in, out, 1, stride), BatchNorm{out});
  return BasicBlock(Sequential<Conv2d, BatchNorm, Relu, Conv2d, BatchNorm>(plain_conv(in, out, 3, stride), BatchNorm{out}, Relu{},
                                                                           plain_conv(out, out), BatchNorm{out}),
                    std::move(shortcut));
}
}  // namespace detail

/// A stage of basic blocks; taps: preact<I>, stage<I>.
template <int I>
using ResNetStage = Sequential<Repeat<Sequential<detail::BasicBlock, Relu>>, detail::BasicBlock, Tap<preact<I>>, Relu, Tap<stage<I>>>;

/// A residual network for 32 x 32 images (He et al. 2016), as the distillation literature has it: projections where the
/// width changes. Taps: stem, preact and stage 1 to 3, pooled, classifier.
using ResNet = Sequential<Unit, Tap<stem>, ResNetStage<1>, ResNetStage<2>, ResNetStage<3>, GlobalAveragePool, Tap<pooled>, Head>;

/// `depth` = 6n + 2 with basic blocks; widths of the stem and the three stages. Throws value_error for another depth.
inline ResNet resnet(int depth, std::array<index_t, 4> widths, int classes = 100, index_t channels = 3) {
  require<value_error>(depth >= 8 && (depth - 2) % 6 == 0, "zoo::resnet: expected a depth of 6n + 2, got ", depth);
  const auto make = [&]<int I>(std::integral_constant<int, I>) {
    const index_t in = widths[I - 1], out = widths[I];
    std::vector<detail::BasicBlock> all;
    for (int b = 0; b < (depth - 2) / 6; ++b) all.push_back(detail::basic_block(b == 0 ? in : out, out, b == 0 && I > 1 ? 2 : 1));
    auto last = std::move(all.back());
    all.pop_back();
    Repeat<Sequential<detail::BasicBlock, Relu>> before;
    for (auto& block : all) before.blocks.push_back(Sequential<detail::BasicBlock, Relu>(std::move(block), Relu{}));
    return ResNetStage<I>(std::move(before), std::move(last), {}, {}, {});
  };
  return ResNet(Unit(plain_conv(channels, widths[0]), BatchNorm{widths[0]}, Relu{}), {}, make(std::integral_constant<int, 1>{}),
                make(std::integral_constant<int, 2>{}), make(std::integral_constant<int, 3>{}), {}, {}, Head{Linear{widths[3], classes}});
}

inline ResNet resnet8(int classes = 100) { return resnet(8, {16, 16, 32, 64}, classes); }
inline ResNet resnet20(int classes = 100) { return resnet(20, {16, 16, 32, 64}, classes); }
inline ResNet resnet32(int classes = 100) { return resnet(32, {16, 16, 32, 64}, classes); }
inline ResNet resnet56(int classes = 100) { return resnet(56, {16, 16, 32, 64}, classes); }
inline ResNet resnet110(int classes = 100) { return resnet(110, {16, 16, 32, 64}, classes); }
inline ResNet resnet8x4(int classes = 100) { return resnet(8, {32, 64, 128, 256}, classes); }
inline ResNet resnet32x4(int classes = 100) { return resnet(32, {32, 64, 128, 256}, classes); }

}  // namespace retort::nn::zoo
