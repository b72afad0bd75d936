#pragma once

#include <cmath>
#include <limits>
#include <retort/core/view.hpp>
#include <retort/graph/adjacency.hpp>

namespace retort::graph {

/// The undirected edges of a graph by similarity of features, sim_ij = 1 / (1 + |x_i - x_j|): row i links to every j != i with
/// sim_ij > threshold * (the largest similarity of row i to another row); a link of either end is an edge. The rule that
/// built RELIANT's Bail graph (threshold 0.6 on its raw columns but the label: 311,870 edges). O(N^2 F), in double.
/// Throws value_error for a threshold outside (0, 1) or fewer than two rows.
inline std::vector<Edge> similarity_edges(View<const float, 2> x, double threshold) {
  require<value_error>(threshold > 0 && threshold < 1 && x.extent(0) >= 2, "graph::similarity_edges: expected a threshold inside (0, 1) and at least 2 rows, got ",
                       threshold, " and ", x.extent(0));
  const auto n = static_cast<std::size_t>(x.extent(0)), features = static_cast<std::size_t>(x.extent(1));
  std::vector<double> columns(n * features), distance(n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t f = 0; f < features; ++f) columns[f * n + i] = static_cast<double>(x.data[i * features + f]);
  std::vector<Edge> edges;
  for (std::size_t i = 0; i < n; ++i) {
    std::fill(distance.begin(), distance.end(), 0.);
    double* const d = distance.data();
    for (std::size_t f = 0; f < features; ++f) {
      const double* const c = columns.data() + f * n;
      const double own = c[i];
      for (std::size_t j = 0; j < n; ++j) d[j] += (c[j] - own) * (c[j] - own);
    }
    double nearest = std::numeric_limits<double>::max();
    for (std::size_t j = 0; j < n; ++j)
      if (j != i) nearest = std::min(nearest, d[j]);
    const double bound = threshold * (1 / (1 + std::sqrt(nearest)));
    // 1 / (1 + sqrt(d)) > bound; the square a little beyond the bound spares most rows the root.
    const double most = (1 / bound - 1) * (1 / bound - 1) * (1 + 1e-9);
    for (std::size_t j = 0; j < n; ++j)
      if (j != i && d[j] <= most && 1 / (1 + std::sqrt(d[j])) > bound) edges.push_back({static_cast<std::int32_t>(j), static_cast<std::int32_t>(i)});
  }
  return edges;
}

}  // namespace retort::graph
