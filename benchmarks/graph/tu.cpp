// B2: BGNN on whole graphs. Ten stratified folds; seed s tests on fold s and validates on fold s + 1. Two-layer GCN, GraphSAGE and
// GAT with batch norm; the arms of arms.hpp through C > S > T, a born-again chain of GATs, the networks alone, and a perceptron on
// pooled features. For each seed the learning rate is the one at which GAT alone validates best, and each arm's lambda the one at
// which its chain does in `tuning` epochs (of equal ones the first); no seed's choice sees its test graphs.
// tu data=FOLDER set=MUTAG|PROTEINS [seeds=10] [first=0] [epochs=60] [tuning=15] [pool=sum|mean] [lrs=0.005,0.01,0.05]
// [lambdas=0.1,0.5,1,5,10] [least=1e-6] [scores=FILE]: `least` bounds what a teacher's error can weigh (boost::SammeR); with FILE,
// results go there as soon as they are known and are not computed twice.

#include <iomanip>
#include <retort/data/graph_files.hpp>
#include <sstream>

#include "arms.hpp"
#include "scores.hpp"

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
  std::uint64_t seed;

  template <class Network>
  auto watch(Network& network) const {
    return std::tuple{callbacks::Accuracy<GraphDataset>(val, "val"), callbacks::KeepBest(network, "val")};
  }
  template <class Chain>
  Score fit_from(Chain& chain, double lr, std::size_t from, int epochs) const {
    fit_chain(chain, train, optim::Adam{.lr = static_cast<float>(lr), .weight_decay = 5e-4f}, {.epochs = epochs, .batch_size = 32, .seed = seed},
              [&](auto& network, int) { return watch(network); }, from);
    return {accuracy(chain.result(), val), accuracy(chain.result(), test)};
  }
};
template <class Net>
Score alone(const Task& task, const Net& architecture, double lr) {
  SoftTargetChain<Net> chain(architecture);  // one link: labels alone
  return task.fit_from(chain, lr, 0, task.epochs);
}
/// A chain whose arms and lambdas share the first link, which has the full length.
template <class... Nets>
struct Shared {
  AnyChain<Nets...> chain;
  double least = MaybeBoost{}.least;
  explicit Shared(Nets... nets) : chain(std::tuple{std::move(nets)...}, {.knowledge = knowledge_of(arms()[0], 1), .boost = {}}) {}
  bool begun = false;
  Score operator()(const Task& task, const Arm& arm, double lambda, double lr, int epochs) {
    if (!begun) task.fit_from(chain, lr, 0, task.epochs);
    begun = true;
    chain.options = {.knowledge = knowledge_of(arm, lambda), .boost = {arm.code, least}};
    return task.fit_from(chain, lr, 1, epochs);
  }
};
/// (sum w)^2 / (n sum w^2), %: what part of the labels still decides.
double effective_share(const std::vector<float>& weights) {
  double sum = 0, squares = 0;
  for (const double w : weights) sum += w, squares += w * w;
  return 100 * sum * sum / (static_cast<double>(weights.size()) * squares);
}
std::vector<double> numbers(const std::string& text) {
  std::vector<double> out;
  std::istringstream list(text);
  for (std::string word; std::getline(list, word, ',');) out.push_back(std::stod(word));
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  print_header("tu", arguments);
  const std::string set = arguments.text("set", "MUTAG");
  const auto kind = arguments.text("pool", "sum") == "sum" ? gnn::PoolKind::sum : gnn::PoolKind::mean;
  const auto rates = numbers(arguments.text("lrs", "0.005,0.01,0.05")), lambdas = numbers(arguments.text("lambdas", "0.1,0.5,1,5,10"));
  const int first = arguments.count("first", 0);
  Scores scores(arguments.text("scores", ""));
  Table table;
  double majority = 0;
  for (int seed = first; seed < first + arguments.count("seeds", 10); ++seed) {
    const auto tu = data::load_tu(arguments.text("data", ".") + "/graphs/" + set, set);
    const auto folds = tu.all.folds(10, 1);
    const auto own = static_cast<std::size_t>(seed), next = (own + 1) % 10;
    std::vector<index_t> train;
    for (std::size_t f = 0; f < 10; ++f)
      if (f != own && f != next) train.insert(train.end(), folds[f].begin(), folds[f].end());
    const Task task{tu.all.subset(train), tu.all.subset(folds[next]), tu.all.subset(folds[own]), arguments.count("epochs", 60), static_cast<std::uint64_t>(seed)};
    if (tu.attribute_columns) {
      std::vector<index_t> rows;
      for (index_t g = 0; g < task.train.size(); ++g)
        for (index_t v = task.train.rows(g).first; v < task.train.rows(g).second; ++v) rows.push_back(v);
      data::standardize_columns(tu.store->inputs.view(), rows, tu.store->inputs.extent(1) - tu.attribute_columns);
    }
    majority = 100. * static_cast<double>(std::count(tu.all.labels.begin(), tu.all.labels.end(), set == "MUTAG" ? 1 : 0)) / static_cast<double>(tu.all.size());
    const index_t f = tu.store->inputs.extent(1), h = 32;
    const auto tail = [&](auto one, auto two) {
      return Net2<decltype(one)>(one, nn::BatchNorm{h}, nn::Relu{}, two, nn::BatchNorm{h}, nn::Relu{}, gnn::Pool{kind}, nn::Dropout{0.5f}, nn::Linear{h, 2});
    };
    const C gcn = tail(gnn::Gcn{f, h}, gnn::Gcn{h, h});
    const S sage = tail(gnn::Sage{f, h}, gnn::Sage{h, h});
    const T gat = tail(gnn::Gat{f, 8, 4}, gnn::Gat{h, 8, 4});
    const NoEdges pooled(gnn::Pool{kind}, nn::Linear{f, h}, nn::Relu{}, nn::Dropout{0.5f}, nn::Linear{h, 2});

    const std::string at = ", " + std::to_string(seed);
    /// The candidate that validates best.
    const auto choose = [&](const std::string& arm, const std::vector<double>& candidates, auto&& validate) {
      return scores.get(arm + ", chosen" + at, [&] {
        double best = -1, chosen = 0;
        for (const double c : candidates)
          if (const double v = validate(c); v > best) best = v, chosen = c;
        return chosen;
      });
    };
    const double lr = choose("GAT", rates, [&](double r) { return alone(task, gat, r).val; });
    const auto single = [&](const char* name, const auto& net) { table.add(name, scores.get(name + at, [&] { return alone(task, net, lr).test; })); };
    single("GAT", gat);
    single("GCN", gcn);
    single("GraphSAGE", sage);
    single("no edges (pooled features)", pooled);
    const auto chained = [&](const std::string& name, auto& chain, const Arm& arm) {
      const double lambda = choose(name, lambdas, [&](double l) { return chain(task, arm, l, lr, arguments.count("tuning", 15)).val; });
      table.add(name, scores.get(name + at, [&] {
        const double test = chain(task, arm, lambda, lr, task.epochs).test;
        for (std::size_t link = 1; link < 3 && arm.code; ++link)
          scores.keep(name + ", effective share of the labels at link " + std::to_string(link) + at, effective_share(chain.chain.weights(link)));
        return test;
      }));
    };
    Shared chain(gcn, sage, gat);
    chain.least = arguments.number("least", chain.least);
    for (const Arm& arm : arms()) chained("C > S > T, " + arm.name, chain, arm);
    Shared again(gat, gat, gat);
    chained("T > T > T, born again", again, arms()[0]);
    std::clog << "seed " << seed << " done\n";
  }
  table.print("GAT");
  const std::string bgnn = "C > S > T, BGNN (CE, w)";
  table.print("C > S > T, fixed T = 4");
  std::cout << "Majority class " << majority << ". One-sided exact Wilcoxon signed-rank, all " << table["GAT"].size() << " seeds: BGNN (CE, w) above GAT alone p = " << std::setprecision(4)
            << statistics::wilcoxon_test(table[bgnn], table["GAT"]).p_greater << ", below p = " << statistics::wilcoxon_test(table["GAT"], table[bgnn]).p_greater
            << "; above the born-again chain p = " << statistics::wilcoxon_test(table[bgnn], table["T > T > T, born again"]).p_greater << ".\n";
  for (const Arm& arm : arms())
    for (const char* link : {"1", "2"})
      if (const auto share = scores.find("C > S > T, " + arm.name + ", effective share of the labels at link " + link + ", " + std::to_string(first)))
        std::cout << arm.name << ", seed " << first << ", link " << link << ": " << std::setprecision(1) << *share << " % of the labels still decide\n";
  for (const auto& arm : {std::string("GAT"), bgnn}) {
    auto best = table[arm];
    std::sort(best.rbegin(), best.rend());
    best.resize(std::min<std::size_t>(5, best.size()));
    std::cout << std::setprecision(2) << "Best five of " << arm << ": " << statistics::mean(best) << '\n';
  }
  for (const std::string arm : {"GAT", "C > S > T, fixed T = 4", "C > S > T, BGNN (CE, w)", "T > T > T, born again"}) {
    std::cout << arm << (arm == "GAT" ? ", learning rates:" : ", lambdas:") << std::setprecision(3);
    for (int seed = first; seed < first + arguments.count("seeds", 10); ++seed) std::cout << ' ' << *scores.find(arm + ", chosen, " + std::to_string(seed));
    std::cout << '\n';
  }
}
