#pragma once

#include <retort/nn/pool.hpp>
#include <retort/nn/zoo/tags.hpp>

namespace retort::nn::zoo {

/// Expansion, depthwise convolution, linear projection.
using Bottleneck = OptionalResidual<Sequential<Conv2d, BatchNorm, Relu, Conv2d, BatchNorm, Relu, Conv2d, BatchNorm>>;
using Bottlenecks = Repeat<Bottleneck>;

/// MobileNetV2 (Sandler et al. 2018) for 32 x 32 images as the distillation literature has it: a stem of stride 2, ReLU, the
/// first bottleneck widened by 1. Taps: stem, stage 1 to 4 (linear, so there is no pre-activation), pooled, classifier.
using MobileNetV2 = Sequential<Unit, Tap<stem>, Bottlenecks, Tap<stage<1>>, Bottlenecks, Tap<stage<2>>, Bottlenecks, Tap<stage<3>>, Bottlenecks, Tap<stage<4>>,
                               Unit, GlobalAveragePool, Tap<pooled>, Head>;

/// `width` 0.5 and `expansion` 6 in the CIFAR tables. Throws value_error unless both are positive.
inline MobileNetV2 mobilenet_v2(int classes = 100, double width = 0.5, index_t expansion = 6, index_t channels = 3) {
  require<value_error>(width > 0 && expansion >= 1, "zoo::mobilenet_v2: expected a width above 0 and an expansion of at least 1, got ", width, " and ", expansion);
  const auto scaled = [&](index_t c) { return std::max<index_t>(1, static_cast<index_t>(static_cast<double>(c) * width)); };
  const auto bottleneck = [](index_t in, index_t out, int stride, index_t factor) {
    const index_t mid = in * factor;
    return Bottleneck{Sequential<Conv2d, BatchNorm, Relu, Conv2d, BatchNorm, Relu, Conv2d, BatchNorm>(
                          plain_conv(in, mid, 1), BatchNorm{mid}, Relu{}, plain_conv(mid, mid, 3, stride, mid), BatchNorm{mid}, Relu{},
                          plain_conv(mid, out, 1), BatchNorm{out}),
                      stride == 1 && in == out};
  };
  index_t at = scaled(32);
  struct Group {
    index_t factor, width;
    int count, stride;
  };
  const auto groups = [&](std::initializer_list<Group> list) {
    Bottlenecks out;
    for (const Group& g : list)
      for (int i = 0; i < g.count; ++i) {
        out.blocks.push_back(bottleneck(at, scaled(g.width), i == 0 ? g.stride : 1, g.factor));
        at = scaled(g.width);
      }
    return out;
  };
  auto stem_unit = Unit(plain_conv(channels, at, 3, 2), BatchNorm{at}, Relu{});
  auto first = groups({{1, 16, 1, 1}, {expansion, 24, 2, 1}}), second = groups({{expansion, 32, 3, 2}}),
       third = groups({{expansion, 64, 4, 2}, {expansion, 96, 3, 1}}), fourth = groups({{expansion, 160, 3, 2}, {expansion, 320, 1, 1}});
  const index_t last = width > 1 ? scaled(1280) : 1280;
  return MobileNetV2(std::move(stem_unit), {}, std::move(first), {}, std::move(second), {}, std::move(third), {}, std::move(fourth), {},
                     Unit(plain_conv(at, last, 1), BatchNorm{last}, Relu{}), {}, {}, Head{Linear{last, classes}});
}

}  // namespace retort::nn::zoo
