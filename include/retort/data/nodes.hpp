#pragma once
// Nodes of one graph as a data set: all are seen, some are labelled.

#include <retort/data/gather.hpp>
#include <retort/functor/row_loss.hpp>
#include <retort/graph/adjacency.hpp>

namespace retort {

struct NodeSubset;

/// One graph with features, labels and, where it matters, a sensitive attribute per node. `fit` shows the whole graph in each
/// step and the labels of `train` alone; losses skip the other rows (TokenMean, Masked).
struct NodeDataset {
  using graph_data = void;
  Tensor<float, 2> inputs;              ///< N x F
  std::vector<std::int32_t> labels;     ///< in [0, classes); -1 where unknown
  int classes = 0;
  std::string name;                     ///< for messages and reports
  graph::Adjacency adjacency;
  std::vector<std::int32_t> sensitive;  ///< 0 or 1 per node, -1 where unknown; or empty
  std::vector<index_t> train, val, test;

  index_t size() const { return inputs.extent(0); }
  View<const std::int32_t, 1> label_view() const { return {labels.data(), {static_cast<index_t>(labels.size())}}; }

  /// Throws shape_error when features, labels, attribute and graph differ in number, and value_error for an empty graph, fewer
  /// than two classes, values out of range, features that are not finite, an empty training part, or a split that names a
  /// node twice, names one that is not there, or trains on a node without label.
  void validate() const {
    require<value_error>(!inputs.empty(), "graph '", name, "' is empty: inputs ", to_string(inputs.shape()));
    require<shape_error>(static_cast<index_t>(labels.size()) == size() && adjacency.nodes() == size() &&
                             (sensitive.empty() || static_cast<index_t>(sensitive.size()) == size()),
                         "graph '", name, "': ", size(), " rows of features, ", labels.size(), " labels, ", sensitive.size(), " sensitive values, an adjacency of ",
                         adjacency.nodes(), " nodes");
    require<value_error>(classes >= 2, "graph '", name, "': expected at least 2 classes, got ", classes);
    for (std::size_t i = 0; i < labels.size(); ++i)
      require<value_error>(labels[i] >= -1 && labels[i] < classes, "graph '", name, "': node ", i, " has label ", labels[i], ", expected 0 to ", classes - 1, ", or -1");
    for (std::size_t i = 0; i < sensitive.size(); ++i)
      require<value_error>(sensitive[i] >= -1 && sensitive[i] <= 1, "graph '", name, "': node ", i, " has the sensitive value ", sensitive[i], ", expected 0, 1 or -1");
    const index_t bad = first_not_finite(inputs.view());
    require<value_error>(bad < 0, "graph '", name, "': node ", bad / inputs.extent(1), ", feature ", bad % inputs.extent(1), " is not finite");
    require<value_error>(!train.empty(), "graph '", name, "': no node to train on");
    std::vector<const char*> part(static_cast<std::size_t>(size()), nullptr);
    for (const auto& [nodes, which] : {std::pair{&train, "train"}, std::pair{&val, "val"}, std::pair{&test, "test"}})
      for (const index_t i : *nodes) {
        require<value_error>(i >= 0 && i < size(), "graph '", name, "': the ", which, " part names node ", i, ", there are 0 to ", size() - 1);
        const char*& seen = part[static_cast<std::size_t>(i)];
        require<value_error>(!seen, "graph '", name, "': the split names node ", i, " twice, in ", seen ? seen : "", " and in ", which);
        seen = which;
        require<value_error>(nodes != &train || labels[static_cast<std::size_t>(i)] >= 0, "graph '", name, "': node ", i, " is one to train on and has no label");
      }
  }

  /// Some of the nodes, in the given order, to evaluate on. Refers to this graph.
  inline NodeSubset nodes(std::span<const index_t> which) const;

  /// Draws a split, stratified by label and sensitive value, a pure function of the seed: `train_share` and `val_share` of each
  /// stratum, the rest to test. Nodes without label stay out. Throws value_error for shares outside (0, 1).
  void split(double train_share, double val_share, std::uint64_t seed) {
    require<value_error>(train_share > 0 && val_share >= 0 && train_share + val_share < 1, "graph '", name, "': expected shares above 0 that leave some to test, got ",
                         train_share, " and ", val_share);
    std::vector<std::vector<index_t>> strata(static_cast<std::size_t>(3 * classes));
    for (std::size_t i = 0; i < labels.size(); ++i)
      if (labels[i] >= 0) strata[static_cast<std::size_t>(3 * labels[i] + (sensitive.empty() ? 0 : sensitive[i] + 1))].push_back(static_cast<index_t>(i));
    train.clear(), val.clear(), test.clear();
    double owed_train = 0, owed_val = 0;  // what rounding withheld from earlier strata
    for (std::size_t s = 0; s < strata.size(); ++s) {
      auto& own = strata[s];
      Rng rng = Rng(seed).fork(0x73706c6974).fork(s);
      rng.shuffle(own);
      const auto take = [&](double share, double& owed, std::size_t left) {
        owed += share * static_cast<double>(own.size());
        const auto n = std::min<std::size_t>(left, static_cast<std::size_t>(std::max(0., std::floor(owed + 0.5))));
        owed -= static_cast<double>(n);
        return n;
      };
      const std::size_t a = take(train_share, owed_train, own.size()), b = take(val_share, owed_val, own.size() - a);
      const auto at = [&](std::size_t i) { return own.begin() + static_cast<std::ptrdiff_t>(i); };
      train.insert(train.end(), at(0), at(a));
      val.insert(val.end(), at(a), at(a + b));
      test.insert(test.end(), at(a + b), own.end());
    }
    for (auto* v : {&train, &val, &test}) std::sort(v->begin(), v->end());
  }
};

/// Nodes of a graph, for predict_logits, callbacks::Accuracy and metrics. Refers to the graph, which must outlive it.
struct NodeSubset {
  using graph_data = void;
  const NodeDataset* whole;
  std::vector<index_t> which;
  std::vector<std::int32_t> labels, sensitive;

  index_t size() const { return static_cast<index_t>(which.size()); }
  View<const std::int32_t, 1> label_view() const { return {labels.data(), {size()}}; }
  View<const std::int32_t, 1> sensitive_view() const { return {sensitive.data(), {static_cast<index_t>(sensitive.size())}}; }
};

inline NodeSubset NodeDataset::nodes(std::span<const index_t> which) const {
  NodeSubset out{this, {which.begin(), which.end()}, {}, {}};
  for (const index_t i : which) {
    require<value_error>(i >= 0 && i < size(), "graph '", name, "': expected a node from 0 to ", size() - 1, ", got ", i);
    out.labels.push_back(labels[static_cast<std::size_t>(i)]);
    if (!sensitive.empty()) out.sensitive.push_back(sensitive[static_cast<std::size_t>(i)]);
  }
  return out;
}

}  // namespace retort
