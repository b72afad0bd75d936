#pragma once
// Many graphs, each with a label, as a data set.

#include <numeric>
#include <retort/data/gather.hpp>
#include <retort/graph/adjacency.hpp>

namespace retort {

/// Graphs with node features and one label each; the nodes of graph g are rows ptr[g] to ptr[g + 1] of `inputs`, and edges stay
/// within a graph. `subset` refers to the same nodes. Batches lay graphs side by side.
struct GraphDataset {
  using graph_data = void;
  /// What all subsets share.
  struct Store {
    Tensor<float, 2> inputs;  ///< nodes x F
    graph::Adjacency adjacency;
    std::vector<index_t> ptr;
  };
  const Store* store = nullptr;
  std::vector<index_t> members;      ///< graphs of the store
  std::vector<std::int32_t> labels;  ///< one per member
  int classes = 0;
  std::string name;

  index_t size() const { return static_cast<index_t>(members.size()); }
  View<const std::int32_t, 1> label_view() const { return {labels.data(), {size()}}; }
  /// Rows of member g.
  std::pair<index_t, index_t> rows(index_t g) const {
    const auto m = static_cast<std::size_t>(members[static_cast<std::size_t>(g)]);
    return {store->ptr[m], store->ptr[m + 1]};
  }
  /// Throws shape_error when the parts differ in number, value_error for an empty set, a graph without nodes, fewer than two
  /// classes, labels out of range, an edge between two graphs, or features that are not finite.
  void validate() const {
    require<value_error>(store && !members.empty(), "graphs '", name, "': the set is empty");
    require<shape_error>(labels.size() == members.size() && !store->ptr.empty() && store->ptr.back() == store->inputs.extent(0) &&
                             store->adjacency.nodes() == store->inputs.extent(0),
                         "graphs '", name, "': ", members.size(), " graphs, ", labels.size(), " labels, ", store->inputs.extent(0), " rows of features, an adjacency of ",
                         store->adjacency.nodes(), " nodes");
    require<value_error>(classes >= 2, "graphs '", name, "': expected at least 2 classes, got ", classes);
    for (index_t g = 0; g < size(); ++g) {
      const std::int32_t y = labels[static_cast<std::size_t>(g)];
      require<value_error>(y >= 0 && y < classes, "graphs '", name, "': graph ", g, " has label ", y, ", expected 0 to ", classes - 1);
      const auto range = rows(g);
      require<value_error>(range.first < range.second, "graphs '", name, "': graph ", g, " has no nodes");
      for (index_t v = range.first; v < range.second; ++v)
        for (const std::int32_t u : store->adjacency.sources(v))
          require<value_error>(u >= range.first && u < range.second, "graphs '", name, "': the edge from node ", u, " to node ", v, " leaves graph ", g);
    }
    const index_t bad = first_not_finite(store->inputs.view());
    require<value_error>(bad < 0, "graphs '", name, "': node ", bad / store->inputs.extent(1), ", feature ", bad % store->inputs.extent(1), " is not finite");
  }
  /// The graphs at `which`, in that order. Throws value_error for one that is not there.
  GraphDataset subset(std::span<const index_t> which) const {
    GraphDataset out{store, {}, {}, classes, name};
    for (const index_t g : which) {
      require<value_error>(g >= 0 && g < size(), "graphs '", name, "': expected a graph from 0 to ", size() - 1, ", got ", g);
      out.members.push_back(members[static_cast<std::size_t>(g)]);
      out.labels.push_back(labels[static_cast<std::size_t>(g)]);
    }
    return out;
  }
  /// Stratified folds: each label's graphs are shuffled and dealt out in turn, a pure function of the seed. Throws value_error
  /// for fewer than two folds.
  std::vector<std::vector<index_t>> folds(int count, std::uint64_t seed) const {
    require<value_error>(count >= 2, "graphs '", name, "': expected at least 2 folds, got ", count);
    std::vector<std::vector<index_t>> out(static_cast<std::size_t>(count));
    std::size_t next = 0;
    for (int c = 0; c < classes; ++c) {
      std::vector<index_t> own;
      for (index_t g = 0; g < size(); ++g)
        if (labels[static_cast<std::size_t>(g)] == c) own.push_back(g);
      Rng rng = Rng(seed).fork(0x666f6c64).fork(static_cast<std::uint64_t>(c));
      rng.shuffle(own);
      for (const index_t g : own) out[next++ % out.size()].push_back(g);
    }
    for (auto& f : out) std::sort(f.begin(), f.end());
    return out;
  }
};

}  // namespace retort
