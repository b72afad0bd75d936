#pragma once

#include <initializer_list>
#include <retort/nn/pool.hpp>
#include <retort/nn/zoo/tags.hpp>
#include <span>

namespace retort::nn::zoo {

/// Linear layers with ReLUs between; taps: pooled (the last hidden vector), classifier.
using Mlp = Sequential<Flatten, Repeat<Sequential<Linear, Relu>>, Tap<pooled>, Head>;

/// `mlp({784, 256, 64, 10})`: inputs, hidden widths, classes. Throws value_error for fewer than two extents.
inline Mlp mlp(std::span<const index_t> widths) {
  require<value_error>(widths.size() >= 2, "zoo::mlp: expected the number of inputs and of classes at least, got ", widths.size(), " extents");
  Repeat<Sequential<Linear, Relu>> hidden;
  const index_t* w = widths.data();
  for (std::size_t i = 0; i + 2 < widths.size(); ++i) hidden.blocks.push_back(Sequential<Linear, Relu>(Linear{w[i], w[i + 1]}, Relu{}));
  return Mlp(Flatten{}, std::move(hidden), {}, Head{Linear{w[widths.size() - 2], w[widths.size() - 1]}});
}
inline Mlp mlp(std::initializer_list<index_t> widths) { return mlp(std::span(widths.begin(), widths.size())); }

/// LeNet-5 (LeCun et al. 1998) with ReLUs and maximum pooling; taps: stage 1 and 2 (before their pools), pooled, classifier.
using LeNet = Sequential<Conv2d, Relu, Tap<stage<1>>, MaxPool, Conv2d, Relu, Tap<stage<2>>, MaxPool, Linear, Relu, Linear, Relu, Tap<pooled>, Head>;

/// For square images of `size` pixels a side, 28 or 32. Throws value_error for sizes below 16 or no multiple of 4.
inline LeNet lenet(int classes = 10, index_t channels = 1, index_t size = 28) {
  require<value_error>(size >= 16 && size % 4 == 0, "zoo::lenet: expected images of at least 16 pixels a side, in multiples of 4, got ", size);
  const index_t first = size % 32 == 0 ? size - 4 : size, last = (first / 2 - 4) / 2;  // 32 pixels need no padding
  return LeNet(Conv2d{channels, 6, 5, 1, size % 32 == 0 ? 0 : 2}, Relu{}, {}, MaxPool{2}, Conv2d{6, 16, 5, 1, 0}, Relu{}, {}, MaxPool{2},
               Linear{16 * last * last, 120}, Relu{}, Linear{120, 84}, Relu{}, {}, Head{Linear{84, classes}});
}

}  // namespace retort::nn::zoo
