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
  /// Throws value_error when an edge names a node outside [0, nodes), or for more than 2^31 - 1 entries.
  Adjacency(index_t nodes, std::span<const Edge> edges, const AdjacencyOptions& options = {}) : loops_(options.loops), symmetric_(true) {
    require<value_error>(nodes >= 0, "graph::Adjacency: expected 0 or more nodes, got ", nodes);
    std::vector<std::uint64_t> keys;
    keys.reserve((options.undirected ? 2 : 1) * edges.size() + (options.loops ? static_cast<std::size_t>(nodes) : 0));
    const auto key = [](std::int32_t to, std::int32_t from) { return std::uint64_t(static_cast<std::uint32_t>(to)) << 32 | static_cast<std::uint32_t>(from); };
    for (std::size_t i = 0; i < edges.size(); ++i) {
      const Edge e = edges[i];
      require<value_error>(e.from >= 0 && e.from < nodes && e.to >= 0 && e.to < nodes, "graph::Adjacency: edge ", i, " joins nodes ", e.from, " and ", e.to,
                           ", the graph has nodes 0 to ", nodes - 1);
      if (e.from == e.to) continue;
      keys.push_back(key(e.to, e.from));
      if (options.undirected) keys.push_back(key(e.from, e.to));
    }
    if (options.loops)
      for (std::int32_t v = 0; v < nodes; ++v) keys.push_back(key(v, v));
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    require<value_error>(keys.size() < (std::size_t{1} << 31), "graph::Adjacency: ", keys.size(), " entries are more than 32-bit positions can name");
    ptr_.assign(static_cast<std::size_t>(nodes) + 1, 0);
    source_.reserve(keys.size());
    for (const std::uint64_t k : keys) {
      ++ptr_[static_cast<std::size_t>(k >> 32) + 1];
      source_.push_back(static_cast<std::int32_t>(k & 0xffffffffu));
    }
    for (std::size_t v = 0; v + 1 < ptr_.size(); ++v) ptr_[v + 1] += ptr_[v];
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
