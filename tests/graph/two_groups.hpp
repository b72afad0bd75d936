#pragma once

#include <retort/data/nodes.hpp>

namespace test {

/// Two groups of unequal base rates (.6 and .4) on a graph that mixes both: the group leaks into features and edges.
inline retort::NodeDataset two_groups(retort::index_t n, std::uint64_t seed) {
  retort::Rng rng(seed);
  retort::NodeDataset d;
  d.inputs = retort::Tensor<float, 2>(retort::Shape{n, 4});
  d.classes = 2;
  d.name = "two groups";
  for (retort::index_t i = 0; i < n; ++i) {
    const int s = static_cast<int>(i % 2), y = rng.uniform_double() < (s ? 0.4 : 0.6);
    d.sensitive.push_back(s);
    d.labels.push_back(y);
    for (retort::index_t c = 0; c < 4; ++c) d.inputs(i, c) = static_cast<float>(rng.normal() + (c < 2 ? 2 * y - 1 : 2 * s - 1));
  }
  std::vector<retort::graph::Edge> edges;
  for (std::int32_t u = 0; u < n; ++u)
    for (std::int32_t v = u + 1; v < n; ++v) {
      const auto a = static_cast<std::size_t>(u), b = static_cast<std::size_t>(v);
      const double rate = 1 + 2 * (d.labels[a] == d.labels[b]) + 2 * (d.sensitive[a] == d.sensitive[b]);
      if (rng.uniform_double() < 2 * rate / static_cast<double>(n)) edges.push_back({u, v});
    }
  d.adjacency = retort::graph::Adjacency(n, edges);
  d.split(0.3, 0.2, seed);
  return d;
}

}  // namespace test
