// Time of a training epoch of a GCN on Cora (1433-64-7) and on Bail (18-64-64-2), one thread: speed data=FOLDER
// [epochs=100]. speed.py times the same nets in PyTorch Geometric. Processor time of the thread; no evaluation, dropout
// 0.5; each net in a process of its own.

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iomanip>
#include <retort/data/graph_files.hpp>

#include "disk/experiment.hpp"

using namespace experiment;
namespace gnn = nn::graph;

namespace {

struct Clock {
  double start = 0;
  std::vector<double>* rounds;
  template <class S>
  void on_epoch_end(S& session) {
    const double now = bench::thread_seconds();
    if (session.progress().epoch > 0) rounds->push_back(now - start);
    start = now;
  }
};
template <class Net>
void time(const std::string& name, const NodeDataset& data, Net architecture, int epochs) {
  Network<Net> network(architecture, 1);
  NodeClassifier<Net> method{teacher::None{}, network};
  std::vector<double> rounds;
  fit(method, data, optim::Adam{.lr = 0.01f, .weight_decay = 5e-4f}, {.epochs = epochs, .seed = 1}, Clock{0, &rounds});
  std::sort(rounds.begin(), rounds.end());
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::cout << '|' << name << '|' << std::fixed << std::setprecision(2) << 1e3 * rounds[rounds.size() / 2] << '|'
            << 1e3 * rounds.front() << '|' << static_cast<double>(usage.ru_maxrss) / 1024 << "|\n";
}

/// Runs `work` in a process of its own, whose peak of memory is then its own.
template <class F>
void apart(F&& work) {
  const pid_t child = fork();
  if (child == 0) {
    work();
    std::cout << std::flush;
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) throw value_error("the net's process failed");
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  print_header("speed", arguments);
  const std::string folder = arguments.text("data", ".") + "/graphs/";
  const int epochs = arguments.count("epochs", 100);
  std::cout << "|Retort|median ms|best ms|peak RSS MiB|\n|---|---|---|---|\n" << std::flush;
  apart([&] {
    auto cora = data::load_citation(folder + "cora/cora.nodes.tsv", folder + "cora/cora.edges.txt", 1433);
    data::normalize_rows_l1(cora.inputs);
    time("GCN 1433-64-7, Cora", cora,
         nn::Sequential<gnn::Gcn, nn::Relu, gnn::Gcn>(gnn::Gcn{1433, 64, 0.5f}, nn::Relu{}, gnn::Gcn{64, 7, 0.5f}),
         epochs);
  });
  apart([&] {
    auto bail = data::load_node_table(folder + "bail/bail.csv", {.label = "RECID", .sensitive = "WHITE"});
    bail.adjacency =
        graph::Adjacency(bail.size(), data::read_edges(folder + "bail/bail_edges.txt", bail.size()), {.loops = true});
    data::normalize_rows_l1(bail.inputs);
    bail.split(0.3, 0.2, 1);
    time("GCN 18-64-64-2, Bail", bail,
         nn::Sequential<gnn::Gcn, nn::Relu, gnn::Gcn, nn::Relu, gnn::Gcn>(
             gnn::Gcn{18, 64}, nn::Relu{}, gnn::Gcn{64, 64, 0.5f}, nn::Relu{}, gnn::Gcn{64, 2, 0.5f}),
         std::max(10, epochs / 5));
  });
}
