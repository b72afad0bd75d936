#pragma once

#include <retort/graph/batch.hpp>

namespace test {

/// Seven nodes, one of them without edges; directed or not.
struct SmallGraph {
  retort::graph::Adjacency adjacency;
  retort::graph::Topology<double> topology;
  retort::graph::Topology<float> topology_f;
  const retort::GraphView<double>& view;
  const retort::GraphView<float>& view_f;

  explicit SmallGraph(bool undirected, bool loops = false)
      : adjacency(7, edges(), {.undirected = undirected, .loops = loops}), view(topology.view()), view_f(topology_f.view()) {
    const retort::graph::Range all[] = {{0, 7}};
    topology.assign(adjacency, all);
    topology_f.assign(adjacency, all);
  }
  static std::vector<retort::graph::Edge> edges() { return {{0, 1}, {0, 2}, {2, 1}, {3, 1}, {4, 3}, {4, 0}, {5, 4}, {1, 5}}; }
};

}  // namespace test
