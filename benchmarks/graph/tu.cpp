// B2: BGNN on whole graphs. tu data=FOLDER set=MUTAG|PROTEINS [seeds=10] [epochs=100] [pool=sum|mean] [lambda=1]
// Ten stratified folds; seed s tests on fold s and validates on fold s + 1. Two-layer GCN, GraphSAGE and GAT with batch norm, the
// students alone, C > S > T with soft targets, BGNN and as a born-again chain of GATs, and a perceptron on pooled features.

#include "arms.hpp"

using namespace experiment;
namespace gnn = nn::graph;

namespace {

template <class Layer>
using Net2 = nn::Sequential<Layer, nn::BatchNorm, nn::Relu, Layer, nn::BatchNorm, nn::Relu, gnn::Pool, nn::Dropout, nn::Linear>;
using C = Net2<gnn::Gcn>;
using S = Net2<gnn::Sage>;
using T = Net2<gnn::Gat>;
using NoEdges = nn::Sequential<gnn::Pool, nn::Linear, nn::Relu, nn::Dropout, nn::Linear>;

struct Task {
  GraphDataset train, val, test;
  int epochs;
  float lr;
};

template <class Network>
auto watch(const Task& task, Network& network) {
  return std::tuple{callbacks::Accuracy<GraphDataset>(task.val, "val"), callbacks::KeepBest(network, "val")};
}
template <class Net>
double alone(const Task& task, Net architecture, std::uint64_t seed) {
  SoftTargetChain<Net> chain(architecture);  // one link: labels alone
  fit_chain(chain, task.train, optim::Adam{.lr = task.lr, .weight_decay = 5e-4f}, {.epochs = task.epochs, .batch_size = 32, .seed = seed},
            [&](auto& network, int) { return watch(task, network); });
  return accuracy(chain.result(), task.test);
}
template <class... Nets>
double chained(const Task& task, std::tuple<Nets...> nets, const Arm& arm, double lambda, std::uint64_t seed) {
  AnyChain<Nets...> chain(nets, {.knowledge = knowledge_of(arm, lambda), .boost = {arm.code}});
  fit_chain(chain, task.train, optim::Adam{.lr = task.lr, .weight_decay = 5e-4f}, {.epochs = task.epochs, .batch_size = 32, .seed = seed},
            [&](auto& network, int) { return watch(task, network); });
  return accuracy(chain.result(), task.test);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  print_header("tu", arguments);
  const std::string set = arguments.text("set", "MUTAG");
  const double lambda = arguments.number("lambda", 1);
  const auto kind = arguments.text("pool", "sum") == "sum" ? gnn::PoolKind::sum : gnn::PoolKind::mean;
  Table table;
  double majority = 0;
  for (int seed = 0; seed < arguments.count("seeds", 10); ++seed) {
    const auto tu = data::load_tu(arguments.text("data", ".") + "/graphs/" + set, set);
    const auto folds = tu.all.folds(10, 1);
    std::vector<index_t> train;
    for (std::size_t f = 0; f < 10; ++f)
      if (f != static_cast<std::size_t>(seed) && f != static_cast<std::size_t>((seed + 1) % 10)) train.insert(train.end(), folds[f].begin(), folds[f].end());
    Task task{tu.all.subset(train), tu.all.subset(folds[static_cast<std::size_t>((seed + 1) % 10)]), tu.all.subset(folds[static_cast<std::size_t>(seed)]), arguments.count("epochs", 100),
              static_cast<float>(arguments.number("lr", 0.005))};
    if (tu.attribute_columns) {
      std::vector<index_t> rows;
      for (index_t g = 0; g < task.train.size(); ++g)
        for (index_t v = task.train.rows(g).first; v < task.train.rows(g).second; ++v) rows.push_back(v);
      data::standardize_columns(tu.store->inputs.view(), rows, tu.store->inputs.extent(1) - tu.attribute_columns);
    }
    majority = 100. * static_cast<double>(std::count(tu.all.labels.begin(), tu.all.labels.end(), set == "MUTAG" ? 1 : 0)) / static_cast<double>(tu.all.size());
    const index_t f = tu.store->inputs.extent(1), h = 32;
    const auto tail = [&](auto first, auto second) {
      return Net2<decltype(first)>(first, nn::BatchNorm{h}, nn::Relu{}, second, nn::BatchNorm{h}, nn::Relu{}, gnn::Pool{kind}, nn::Dropout{0.5f}, nn::Linear{h, 2});
    };
    const C gcn = tail(gnn::Gcn{f, h}, gnn::Gcn{h, h});
    const S sage = tail(gnn::Sage{f, h}, gnn::Sage{h, h});
    const T gat = tail(gnn::Gat{f, 8, 4}, gnn::Gat{h, 8, 4});
    const auto s = static_cast<std::uint64_t>(seed);
    table.add("GAT", alone(task, gat, s));
    table.add("GCN", alone(task, gcn, s));
    table.add("GraphSAGE", alone(task, sage, s));
    table.add("no edges (pooled features)", alone(task, NoEdges(gnn::Pool{kind}, nn::Linear{f, h}, nn::Relu{}, nn::Dropout{0.5f}, nn::Linear{h, 2}), s));
    table.add("C > S > T, fixed T = 4", chained(task, std::tuple{gcn, sage, gat}, arms()[0], lambda, s));
    table.add("C > S > T, BGNN (CE, w)", chained(task, std::tuple{gcn, sage, gat}, arms()[4], lambda, s));
    table.add("T > T > T, born again", chained(task, std::tuple{gat, gat, gat}, arms()[0], lambda, s));
    std::clog << "seed " << seed << " done\n";
  }
  table.print("GAT");
  const auto& b = table["C > S > T, BGNN (CE, w)"];
  const auto w = statistics::wilcoxon_test(b, table["GAT"]);
  std::cout << "Majority class " << majority << ". BGNN against GAT alone, all " << b.size() << " seeds: exact Wilcoxon, one-sided p = " << std::setprecision(4) << w.p_greater << ".\n";
  for (const auto& arm : {"GAT", "C > S > T, BGNN (CE, w)"}) {
    auto best = table[arm];
    std::sort(best.rbegin(), best.rend());
    best.resize(std::min<std::size_t>(5, best.size()));
    std::cout << std::setprecision(2) << "Best five of " << arm << ": " << statistics::mean(best) << '\n';
  }
}
