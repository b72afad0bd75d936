// BGNN: a chain of graph networks, each teaching the next with a temperature of its own for each node and with weighted labels,
// beside the student alone and soft targets at a fixed temperature. Trains on a small block model, or on Cora with
// RETORT_DATA_DIR set and --cora. Usage: boosted_graph [--short] [--cora]

#include <iomanip>
#include <iostream>
#include <retort.hpp>
#include <retort/data/graph_files.hpp>

using namespace retort;
namespace gnn = nn::graph;
using Gcn = nn::Sequential<gnn::Gcn, nn::Relu, gnn::Gcn>;
using Sage = nn::Sequential<gnn::Sage, nn::Relu, gnn::Sage>;
using Gat = nn::Sequential<gnn::Gat, nn::Relu, gnn::Gat>;

/// Four communities with noisy features and few labels.
NodeDataset communities(index_t n) {
  Rng rng(3);
  NodeDataset d{Tensor<float, 2>(Shape{n, 16}), {}, 4, "communities", {}, {}, {}, {}, {}};
  for (index_t i = 0; i < n; ++i) {
    d.labels.push_back(static_cast<std::int32_t>(i % 4));
    for (index_t c = 0; c < 16; ++c) d.inputs(i, c) = static_cast<float>(rng.normal() + (c / 4 == i % 4 ? 0.9 : 0));
  }
  std::vector<graph::Edge> edges;
  for (std::int32_t u = 0; u < n; ++u)
    for (std::int32_t v = u + 1; v < n; ++v)
      if (rng.uniform_double() * static_cast<double>(n) < (u % 4 == v % 4 ? 10 : 2)) edges.push_back({u, v});
  d.adjacency = graph::Adjacency(n, edges);
  d.split(0.08, 0.25, 1);
  return d;
}

int main(int argc, char** argv) {
  bool brief = false, real = false;
  for (int i = 1; i < argc; ++i) brief |= std::string(argv[i]) == "--short", real |= std::string(argv[i]) == "--cora";
  NodeDataset data = communities(brief ? 400 : 1200);
  if (real) {
    const char* root = std::getenv("RETORT_DATA_DIR");
    const std::string folder = std::string(root ? root : RETORT_DATA_DIR) + "/graphs/cora/";
    data = data::load_citation(folder + "cora.nodes.tsv", folder + "cora.edges.txt", 1433);
    data::normalize_rows_l1(data.inputs);
  }
  const auto val = data.nodes(data.val), test = data.nodes(data.test);
  const index_t f = data.inputs.extent(1), classes = data.classes;
  const Gcn gcn(gnn::Gcn{f, 32, 0.5f}, nn::Relu{}, gnn::Gcn{32, classes, 0.5f});
  const Sage sage(gnn::Sage{f, 32, 0.5f}, nn::Relu{}, gnn::Sage{32, classes, 0.5f});
  const Gat gat(gnn::Gat{f, 8, 4, false, 0.5f, 0.5f}, nn::Relu{}, gnn::Gat{32, classes, 1, true, 0.5f, 0.5f});
  const optim::Adam optimizer{.lr = 0.02f, .weight_decay = 5e-4f};
  const FitOptions options{.epochs = brief ? 100 : 200, .seed = 1};
  const auto watch = [&](auto& network, int) {
    return std::tuple{callbacks::OnNodes(data, node_accuracy(val, "val")), callbacks::KeepBest(network, "val"), callbacks::TemperatureLog{}, callbacks::ProgressBar{std::clog, 1}};
  };
  const auto accuracy = [&](auto& network) {
    Cpu cpu;
    return 100 * metrics::accuracy(predict_logits(network, test, cpu), test.label_view());
  };

  Bgnn<Gcn, Sage, Gat> bgnn(gcn, sage, gat);
  const auto reports = fit_chain(bgnn, data, optimizer, options, watch);
  SoftTargetChain<Gcn, Sage, Gat> control(gcn, sage, gat);
  fit_chain(control, data, optimizer, options, watch);
  SoftTargetChain<Gat> alone(gat);
  fit_chain(alone, data, optimizer, options, watch);

  std::cout << std::fixed << std::setprecision(1) << "\nAccuracy on the test nodes, %\n"
            << "  GCN alone                     " << accuracy(bgnn.network<0>()) << "\n  GAT alone                     " << accuracy(alone.result())
            << "\n  GCN > SAGE > GAT, fixed T     " << accuracy(control.result()) << "\n  GCN > SAGE > GAT, BGNN        " << accuracy(bgnn.result()) << '\n';
  const auto labels = detail::training_labels(data);
  std::cout << std::setprecision(3) << "  temperatures at the last link: " << reports.back().final_metric("tau_min") << " to " << reports.back().final_metric("tau_max")
            << "; evenness of the label weights " << boost::weight_evenness(bgnn.weights(2), labels) << '\n';
  return real || accuracy(bgnn.result()) > 60 ? 0 : 1;
}
