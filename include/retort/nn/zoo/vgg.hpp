#pragma once

#include <retort/nn/pool.hpp>
#include <retort/nn/zoo/tags.hpp>

namespace retort::nn::zoo {

/// One resolution of a VGG: units, then a last convolution whose batch norm is revealed; taps: preact<I>, stage<I>.
template <int I>
using VggStage = Sequential<Repeat<Unit>, Conv2d, Reveal<preact<I>, BatchNorm>, Relu, Tap<stage<I>>>;

/// VGG with batch norm for 32 x 32 images, one linear layer behind a global average pool (Simonyan & Zisserman 2015, as the
/// distillation literature has it: the fourth resolution is not pooled). Taps: preact and stage 1 to 5, pooled, classifier.
using Vgg = Sequential<VggStage<1>, MaxPool, VggStage<2>, MaxPool, VggStage<3>, MaxPool, VggStage<4>, VggStage<5>, GlobalAveragePool, Tap<pooled>, Head>;

/// Convolutions per resolution. Throws value_error for fewer than one.
inline Vgg vgg(std::array<int, 5> convolutions, int classes = 100, index_t channels = 3) {
  const std::array<index_t, 6> widths{channels, 64, 128, 256, 512, 512};
  const auto make = [&]<int I>(std::integral_constant<int, I>) {
    const index_t in = widths[I - 1], out = widths[I];
    const int count = convolutions[I - 1];
    require<value_error>(count >= 1, "zoo::vgg: expected at least 1 convolution per resolution, got ", count);
    Repeat<Unit> before;
    for (int c = 0; c + 1 < count; ++c) before.blocks.push_back(Unit(Conv2d{c == 0 ? in : out, out}, BatchNorm{out}, Relu{}));
    return VggStage<I>(std::move(before), Conv2d{count == 1 ? in : out, out}, Reveal<preact<I>, BatchNorm>{BatchNorm{out}}, Relu{}, {});
  };
  return Vgg(make(std::integral_constant<int, 1>{}), MaxPool{2}, make(std::integral_constant<int, 2>{}), MaxPool{2}, make(std::integral_constant<int, 3>{}),
             MaxPool{2}, make(std::integral_constant<int, 4>{}), make(std::integral_constant<int, 5>{}), {}, {}, Head{Linear{512, classes}});
}
inline Vgg vgg8(int classes = 100) { return vgg({1, 1, 1, 1, 1}, classes); }
inline Vgg vgg13(int classes = 100) { return vgg({2, 2, 2, 2, 2}, classes); }

}  // namespace retort::nn::zoo
