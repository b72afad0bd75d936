#pragma once
// Graphs in compressed rows: who hears whom.

#include <algorithm>
#include <cstdint>
#include <retort/core/error.hpp>
#include <retort/core/shape.hpp>
#include <span>
#include <vector>

namespace retort::graph {

/// An edge from one node to another; the second hears the first.
struct Edge {
  std::int32_t from, to;
  friend constexpr bool operator==(const Edge&, const Edge&) = default;
};

struct AdjacencyOptions {
  bool undirected = true;  ///< each edge counts both ways
  bool loops = false;      ///< every node hears itself (as RELIANT's graphs do); edges from a node to itself are dropped else
};

/// Row v lists, ascending and once each, the nodes u of the edges u -> v.
class Adjacency {
 public:
  Adjacency() = default;
  /// Throws value_error when an edge names a node outside [0, nodes), or for more than 2^31 - 1 entries, repeated ones counted.
  Adjacency(index_t nodes, std::span<const Edge> edges, const AdjacencyOptions& options = {}) : loops_(options.loops), symmetric_(true) {
    require<value_error>(nodes >= 0, "graph::Adjacency: expected 0 or more nodes, got ", nodes);
    const std::size_t most = (options.undirected ? 2 : 1) * edges.size() + (options.loops ? static_cast<std::size_t>(nodes) : 0);
    require<value_error>(most < (std::size_t{1} << 31), "graph::Adjacency: ", most, " entries are more than 32-bit positions can name");
    // Counted into rows, twice over the edges: first how many sources each node has, then which.
    std::vector<std::int32_t> end(static_cast<std::size_t>(nodes) + 1, 0);
    const auto each = [&](auto&& entry) {
      for (const Edge e : edges) {
        if (e.from == e.to) continue;
        entry(e.to, e.from);
        if (options.undirected) entry(e.from, e.to);
      }
      if (options.loops)
        for (std::int32_t v = 0; v < nodes; ++v) entry(v, v);
    };
    for (std::size_t i = 0; i < edges.size(); ++i) {
      const Edge e = edges[i];
      require<value_error>(e.from >= 0 && e.from < nodes && e.to >= 0 && e.to < nodes, "graph::Adjacency: edge ", i, " joins nodes ", e.from, " and ", e.to,
                           ", the graph has nodes 0 to ", nodes - 1);
    }
    each([&](std::int32_t to, std::int32_t) { ++end[static_cast<std::size_t>(to) + 1]; });
    for (std::size_t v = 0; v + 1 < end.size(); ++v) end[v + 1] += end[v];
    source_.resize(static_cast<std::size_t>(end.back()));
    std::vector<std::int32_t> next = end;
    each([&](std::int32_t to, std::int32_t from) { source_[static_cast<std::size_t>(next[static_cast<std::size_t>(to)]++)] = from; });
    ptr_.assign(end.size(), 0);  // repeated edges fall together
    std::int32_t* kept = source_.data();
    for (std::size_t v = 0; v + 1 < end.size(); ++v) {
      std::int32_t *const first = source_.data() + end[v], *const last = source_.data() + end[v + 1];
      std::sort(first, last);
      for (const std::int32_t* u = first; u < last; ++u)
        if (u == first || *u != u[-1]) *kept++ = *u;
      ptr_[v + 1] = static_cast<std::int32_t>(kept - source_.data());
    }
    source_.resize(static_cast<std::size_t>(ptr_.back()));
    if (!options.undirected)
      for (std::int32_t v = 0; symmetric_ && v < nodes; ++v)
        for (const std::int32_t u : sources(v)) symmetric_ &= hears(u, v);
  }

  index_t nodes() const { return static_cast<index_t>(ptr_.size()) - 1; }
  /// Entries of all rows: edges each way, and the loops that the graph holds.
  index_t entries() const { return static_cast<index_t>(source_.size()); }
  /// Edges of an undirected graph, each counted once, without loops.
  index_t undirected_edges() const { return (entries() - (loops_ ? nodes() : 0)) / 2; }
  bool loops() const { return loops_; }
  bool symmetric() const { return symmetric_; }
  /// Whom node v hears.
  std::span<const std::int32_t> sources(index_t v) const {
    return {source_.data() + ptr_[static_cast<std::size_t>(v)], source_.data() + ptr_[static_cast<std::size_t>(v) + 1]};
  }
  bool hears(index_t v, std::int32_t u) const {
    const auto row = sources(v);
    return std::binary_search(row.begin(), row.end(), u);
  }
  /// The same graph, in which every node hears itself too.
  Adjacency with_loops() const {
    std::vector<Edge> edges;
    edges.reserve(source_.size());
    for (std::int32_t v = 0; v < nodes(); ++v)
      for (const std::int32_t u : sources(v)) edges.push_back({u, v});
    return Adjacency(nodes(), edges, {.undirected = false, .loops = true});
  }

 private:
  std::vector<std::int32_t> ptr_{0}, source_;
  bool loops_ = false, symmetric_ = true;
};

/// The share of edges whose ends agree in `values` (labels, a sensitive attribute), loops and unknown values (below 0) left
/// out. NaN for a graph without such edges. Throws shape_error unless there is a value per node.
inline double homophily(const Adjacency& graph, std::span<const std::int32_t> values) {
  require<shape_error>(static_cast<index_t>(values.size()) == graph.nodes(), "graph::homophily: ", values.size(), " values for ", graph.nodes(), " nodes");
  double same = 0, all = 0;
  for (index_t v = 0; v < graph.nodes(); ++v)
    for (const std::int32_t u : graph.sources(v)) {
      const std::int32_t a = values[static_cast<std::size_t>(u)], b = values[static_cast<std::size_t>(v)];
      if (u == v || a < 0 || b < 0) continue;
      same += a == b;
      all += 1;
    }
  return same / all;
}

}  // namespace retort::graph
