// A GCN alone on Cora's public split: gcn data=FOLDER [seeds=10] [epochs=200]

#include <retort/data/graph_files.hpp>

#include "disk/experiment.hpp"

using namespace experiment;
namespace gnn = nn::graph;
using Net = nn::Sequential<gnn::Gcn, nn::Relu, gnn::Gcn>;

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  print_header("gcn", arguments);
  const std::string folder = arguments.text("data", ".") + "/graphs/cora/";
  auto cora = data::load_citation(folder + "cora.nodes.tsv", folder + "cora.edges.txt", 1433);
  data::normalize_rows_l1(cora.inputs);
  const auto val = cora.nodes(cora.val), test = cora.nodes(cora.test);
  Table table;
  for (int seed = 0; seed < arguments.count("seeds", 10); ++seed)
    for (const index_t hidden : {16, 64}) {
      const auto s = static_cast<std::uint64_t>(seed);
      Network<Net> network(Net(gnn::Gcn{1433, hidden, 0.5f}, nn::Relu{}, gnn::Gcn{hidden, 7, 0.5f}), s);
      NodeClassifier<Net> method{teacher::None{}, network};
      fit(method, cora, optim::Adam{.lr = 0.01f, .weight_decay = 5e-4f}, {.epochs = arguments.count("epochs", 200), .seed = s}, callbacks::OnNodes(cora, node_accuracy(val, "val")),
          callbacks::KeepBest(network, "val"));
      table.add("GCN, hidden " + std::to_string(hidden), accuracy(network, test));
    }
  table.print("GCN, hidden 16");
}
