#pragma once
// What a network costs to keep and to run, from its layers' extents alone: no parameter is made.

#include <algorithm>
#include <retort/nn/batch_norm.hpp>
#include <retort/nn/conv2d.hpp>
#include <retort/nn/linear.hpp>
#include <retort/nn/pool.hpp>
#include <retort/nn/repeat.hpp>
#include <retort/nn/reveal.hpp>
#include <retort/nn/sequential.hpp>

namespace retort {

/// Counts of values (not bytes) and of multiply-adds, for one sample.
struct Footprint {
  index_t parameters = 0;      ///< trainable
  index_t buffers = 0;         ///< running statistics
  index_t largest_map = 0;     ///< values of the largest input or output of a layer
  index_t two_buffers = 0;     ///< peak of input + output over the layers; batch norms and activations work in place
  index_t multiply_adds = 0;   ///< of convolutions and linear layers

  /// Values to store: parameters and running statistics.
  constexpr index_t stored() const { return parameters + buffers; }
  /// Megabytes (10^6 bytes) of `values` at 4 (float), 2 (half) or 1 (int8) bytes each.
  static constexpr double megabytes(index_t values, int bytes_each = 4) { return static_cast<double>(values) * bytes_each / 1e6; }
  friend constexpr bool operator==(const Footprint&, const Footprint&) = default;
};

namespace nn {

/// Where a walk through the layers stands. A layer of your own takes part with a function
/// `constexpr void trace(const YourLayer&, nn::FootprintTrace&)` in its namespace.
struct FootprintTrace {
  Shape<4> map;  ///< 1 x H x W x C; vectors are 1 x 1 x 1 x C
  Footprint sum;

  /// A layer turns the map into one of `shape`, or works in place.
  constexpr void becomes(Shape<4> shape) {
    sum.two_buffers = std::max(sum.two_buffers, map.size() + shape.size());
    map = shape;
    sum.largest_map = std::max(sum.largest_map, map.size());
  }
};

template <class F>
constexpr void trace(const Activation<F>&, FootprintTrace&) {}
template <class Tag>
constexpr void trace(const Tap<Tag>&, FootprintTrace&) {}
constexpr void trace(const Identity&, FootprintTrace&) {}
constexpr void trace(const Dropout&, FootprintTrace&) {}
constexpr void trace(const Conv2d& l, FootprintTrace& t) {
  t.becomes(l.geometry().output(t.map, l.out));
  const index_t weights = l.kernel * l.kernel * (l.in / l.groups) * l.out;
  t.sum.parameters += weights + (l.bias ? l.out : 0);
  t.sum.multiply_adds += weights * t.map[1] * t.map[2];
}
constexpr void trace(const Linear& l, FootprintTrace& t) {
  t.becomes({1, 1, 1, l.out});
  t.sum.parameters += l.in * l.out + (l.bias ? l.out : 0);
  t.sum.multiply_adds += l.in * l.out;
}
constexpr void trace(const BatchNorm& l, FootprintTrace& t) {
  t.sum.parameters += 2 * l.channels;
  t.sum.buffers += 2 * l.channels;
}
constexpr void trace(const MaxPool& l, FootprintTrace& t) { t.becomes(l.geometry.output(t.map)); }
constexpr void trace(const AveragePool& l, FootprintTrace& t) { t.becomes(l.geometry.output(t.map)); }
constexpr void trace(const GlobalMaxPool&, FootprintTrace& t) { t.becomes({1, 1, 1, t.map[3]}); }
constexpr void trace(const GlobalAveragePool&, FootprintTrace& t) { t.becomes({1, 1, 1, t.map[3]}); }
constexpr void trace(const Flatten&, FootprintTrace& t) { t.map = {1, 1, 1, t.map.size()}; }
template <class Tag, class Layer>
constexpr void trace(const Reveal<Tag, Layer>& l, FootprintTrace& t) {
  trace(l.layer, t);
}
template <class... Layers>
constexpr void trace(const Sequential<Layers...>& s, FootprintTrace& t);
template <class Block>
constexpr void trace(const Repeat<Block>& r, FootprintTrace& t) {
  for (const Block& b : r.blocks) trace(b, t);
}
template <class Layer>
constexpr void trace(const Maybe<Layer>& m, FootprintTrace& t) {
  if (m.layer) trace(*m.layer, t);
}
/// Both arms see the same map; the input is kept while the body runs.
template <class Body, class Shortcut>
constexpr void trace(const Residual<Body, Shortcut>& r, FootprintTrace& t) {
  FootprintTrace body{t.map, {}};
  trace(r.body, body);
  t.sum.two_buffers = std::max(t.sum.two_buffers, t.map.size() + body.sum.two_buffers);
  t.sum.largest_map = std::max(t.sum.largest_map, body.sum.largest_map);
  t.sum.parameters += body.sum.parameters;
  t.sum.buffers += body.sum.buffers;
  t.sum.multiply_adds += body.sum.multiply_adds;
  trace(r.shortcut, t);
}
template <class... Layers>
constexpr void trace(const Sequential<Layers...>& s, FootprintTrace& t) {
  s.layers.apply([&](const auto&... layers) { (trace(layers, t), ...); });
}

}  // namespace nn

/// The footprint of an architecture on one sample of `input`'s shape without its first axis: {1, H, W, C} for images,
/// {1, features} for vectors. A constant expression where the architecture is one.
template <class Architecture, int R>
constexpr Footprint footprint(const Architecture& architecture, Shape<R> input) {
  static_assert(R == 2 || R == 4, "retort::footprint: expected the shape of one image, 1 x H x W x C, or of one vector, 1 x features");
  nn::FootprintTrace t{};
  if constexpr (R == 4)
    t.map = {1, input[1], input[2], input[3]};
  else
    t.map = {1, 1, 1, input[1]};
  t.sum.largest_map = t.map.size();
  trace(architecture, t);
  return t.sum;
}

}  // namespace retort
