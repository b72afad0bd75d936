// B1: BGNN on Cora. Chains C>S, T>C and C>S>T (GCN, GraphSAGE, GAT), arms of arms.hpp, born-again chains of the student's own
// architecture, local structure preserved along the chain (LSP), the student alone, and the logit average of separately trained members. lambda is chosen for each arm and chain
// on the validation nodes with seeds of their own (1000, ...), the learning rate on the student alone; then fresh seeds.
// cora data=FOLDER [seeds=10] [first=0] [tuning=3] [epochs=200] [chain=all|CS|TC|CST] [arms=10] [lr=R lambdas=7,OF,THEM] [scores=FILE]
//
// With scores=FILE each score goes to FILE as soon as it is known and is not computed twice: runs of different seeds (first=) may
// share it, one that was cut off goes on, the last one prints the tables. arms=N: only the first N rows. lr and lambdas (in the
// order that a tuned run prints) take the place of tuning.

#include <functional>
#include <sstream>
#include <retort/data/graph_files.hpp>

#include "arms.hpp"
#include "scores.hpp"

using namespace experiment;
namespace gnn = nn::graph;
using C = nn::Sequential<gnn::Gcn, nn::Relu, gnn::Gcn>;
using S = nn::Sequential<gnn::Sage, nn::Relu, gnn::Sage>;
using T = nn::Sequential<gnn::Gat, nn::Relu, gnn::Gat>;
struct hidden;
template <class Layer>
using WithTap = nn::Sequential<Layer, nn::Relu, nn::Tap<hidden>, Layer>;

namespace {

struct Task {
  NodeDataset graph;
  NodeSubset val, test;
  int epochs;
};
struct Settings {
  int seeds, first, tuning, arms;
  double lr;
  std::vector<double> lambdas;
};

C gcn() { return C(gnn::Gcn{1433, 64, 0.5f}, nn::Relu{}, gnn::Gcn{64, 7, 0.5f}); }
S sage() { return S(gnn::Sage{1433, 64, 0.5f}, nn::Relu{}, gnn::Sage{64, 7, 0.5f}); }
T gat() { return T(gnn::Gat{1433, 8, 8, false, 0.5f, 0.5f}, nn::Relu{}, gnn::Gat{64, 7, 1, true, 0.5f, 0.5f}); }

/// The same net with its hidden features as a tap.
template <class Layer>
WithTap<Layer> tapped(const nn::Sequential<Layer, nn::Relu, Layer>& net) {
  return WithTap<Layer>(retort::detail::get<0>(net.layers), nn::Relu{}, {}, retort::detail::get<2>(net.layers));
}

template <class Net>
Score score(Net& network, const Task& task) {
  return {accuracy(network, task.val), accuracy(network, task.test)};
}
optim::Adam optimizer(float lr) { return {.lr = lr, .weight_decay = 5e-4f}; }

template <class Net>
std::pair<Score, Tensor<float, 2>> alone(const Task& task, Net architecture, std::uint64_t seed, float lr) {
  Network<Net> network(architecture, seed);
  NodeClassifier<Net> method{teacher::None{}, network};
  fit(method, task.graph, optimizer(lr), {.epochs = task.epochs, .seed = seed},
      callbacks::OnNodes(task.graph, node_accuracy(task.val, "val")), callbacks::KeepBest(network, "val"));
  Cpu cpu;
  return {score(network, task), predict_logits(network, task.test, cpu)};
}
template <class Chain>
std::vector<Report> fit_links(Chain& chain, const Task& task, std::uint64_t seed, float lr) {
  return fit_chain(chain, task.graph, optimizer(lr), {.epochs = task.epochs, .seed = seed}, [&](auto& network, int) {
    return std::tuple{callbacks::OnNodes(task.graph, node_accuracy(task.val, "val")),
                      callbacks::KeepBest(network, "val"), callbacks::TemperatureLog{}};
  });
}
template <class... Nets>
Score lsp_score(const Task& task, const std::tuple<Nets...>& nets, double lambda, std::uint64_t seed, float lr) {
  return std::apply(
      [&](const auto&... net) {
        const std::tuple links{tapped(net)...};
        Chain<loss::LocalStructure<hidden>, boost::None, Cpu, decltype(tapped(net))...> chain(links, {.knowledge = {.weight = lambda}});
        fit_links(chain, task, seed, lr);
        return score(chain.result(), task);
      },
      nets);
}
template <class... Nets>
Score chain_score(const Task& task, const std::tuple<Nets...>& nets, const Arm& arm, double lambda, std::uint64_t seed,
                  float lr, std::vector<double>* evenness = nullptr, Report* last = nullptr) {
  AnyChain<Nets...> chain(nets, {.knowledge = knowledge_of(arm, lambda), .boost = {arm.code}});
  auto reports = fit_links(chain, task, seed, lr);
  if (evenness)
    evenness->push_back(
        boost::weight_evenness(chain.weights(sizeof...(Nets) - 1), detail::training_labels(task.graph)));
  if (last) *last = reports.back();
  return score(chain.result(), task);
}

/// The value of `candidates` with the best mean validation accuracy.
template <class V, class F>
V choose(const std::vector<V>& candidates, int seeds, F&& run) {
  V best{};
  double top = -1;
  for (const V& v : candidates) {
    double sum = 0;
    for (int s = 0; s < seeds; ++s) sum += run(v, static_cast<std::uint64_t>(1000 + s));
    if (sum > top) top = sum, best = v;
  }
  return best;
}

template <class... Nets>
void run_chain(const std::string& title, const Task& task, std::tuple<Nets...> nets, const Settings& plan,
               Scores& scores) {
  const auto student = std::get<sizeof...(Nets) - 1>(nets);
  const auto own = std::tuple{(static_cast<void>(sizeof(Nets)), student)...};
  const bool tune = plan.lambdas.empty();
  const auto lr = static_cast<float>(
      tune ? scores.get(title + ", learning rate",
                        [&] {
                          return choose<double>({0.005, 0.01, 0.05}, plan.tuning, [&](double r, std::uint64_t s) {
                            return alone(task, student, s, static_cast<float>(r)).first.val;
                          });
                        })
           : plan.lr);
  std::cout << "### " << title << "\n\nLearning rate " << lr << (tune ? " (validation)" : " (given)")
            << ". lambda by arm:";
  std::vector<std::pair<std::string, std::function<double(double, std::uint64_t, bool)>>>
      chained;  // (lambda, seed, validation?) -> accuracy
  for (const Arm& arm : arms())
    chained.emplace_back(arm.name, [&, arm](double lambda, std::uint64_t seed, bool validation) {
      std::vector<double> evenness;
      Report report;
      const Score got = chain_score(task, nets, arm, lambda, seed, lr, arm.code ? &evenness : nullptr, &report);
      if (validation) return got.val;
      const std::string at = title + ", " + arm.name + ", " + std::to_string(seed);
      if (arm.code) scores.keep(at + ", evenness", evenness.front());
      if (arm.knowledge)
        for (const char* metric : {"tau_min", "tau_mean", "tau_max", "tau_saturated"})
          scores.keep(at + ", " + metric, report.final_metric(metric));
      return got.test;
    });
  chained.emplace_back("born-again chain", [&](double lambda, std::uint64_t seed, bool validation) {
    const Score got = chain_score(task, own, arms()[0], lambda, seed, lr);
    return validation ? got.val : got.test;
  });
  if (plan.arms > 9)
    chained.emplace_back("LSP", [&](double lambda, std::uint64_t seed, bool validation) {
      const Score got = lsp_score(task, nets, lambda, seed, lr);
      return validation ? got.val : got.test;
    });
  std::map<std::string, double> lambda;
  for (std::size_t k = 0; k < chained.size(); ++k) {
    const auto& [name, run] = chained[k];
    lambda[name] = tune
                       ? scores.get(title + ", lambda of " + name,
                                    [&, &run = run] {
                                      return choose<double>({0.1, 0.5, 1, 5, 10}, plan.tuning,
                                                            [&](double l, std::uint64_t s) { return run(l, s, true); });
                                    })
                       : plan.lambdas.at(k);
    std::cout << ' ' << name << ' ' << lambda[name] << ';' << std::flush;
  }
  std::cout << "\n\n";
  std::vector<std::pair<std::string, std::function<double(std::uint64_t)>>> rows{
      {"no KD", [&](std::uint64_t seed) { return alone(task, student, seed, lr).first.test; }}};
  for (const char* name : {"fixed T = 4", "BGNN (CE, w)", "born-again chain", "+ w", "+ tau (CE)", "BGNN (KL, w)",
                           "+ tau (KL)"})  // what a cut run needs first
    rows.emplace_back(name,
                      [&, name, &run = std::find_if(chained.begin(), chained.end(), [&](const auto& c) {
                                         return c.first == name;
                                       })->second](std::uint64_t seed) { return run(lambda[name], seed, false); });
  rows.emplace_back("logit average of the members", [&](std::uint64_t seed) {
    std::vector<Tensor<float, 2>> members;
    std::apply(
        [&](const auto&... n) {
          std::uint64_t k = 100 * (seed + 1);
          (members.push_back(alone(task, n, k++, lr).second), ...);
        },
        nets);
    for (std::size_t m = 1; m < members.size(); ++m)
      for (index_t i = 0; i < members[0].size(); ++i) members[0].data()[i] += members[m].data()[i];
    return 100 * metrics::accuracy(members[0], task.test.label_view());
  });
  if (plan.arms > 9) rows.emplace_back("LSP", [&, &run = chained.back().second](std::uint64_t seed) { return run(lambda["LSP"], seed, false); });
  rows.resize(std::min(rows.size(), static_cast<std::size_t>(plan.arms)));
  Table table;
  for (const auto& [name, run] : rows)
    for (int s = plan.first; s < plan.first + plan.seeds; ++s)
      table.add(name, scores.get(title + ", " + name + ", " + std::to_string(s),
                                 [&, &run = run] { return run(static_cast<std::uint64_t>(s)); }));
  table.print("no KD");
  table.print("fixed T = 4");
  for (const auto& [name, run] : rows)
    for (const char* metric : {"evenness", "tau_min", "tau_mean", "tau_max", "tau_saturated"}) {
      const auto value =
          scores.find(title + ", " + name + ", " + std::to_string(plan.first + plan.seeds - 1) + ", " + metric);
      if (value) std::cout << name << ", last seed: " << metric << ' ' << *value << '\n';
    }
  std::cout << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  print_header("cora", arguments);
  const std::string folder = arguments.text("data", ".") + "/graphs/cora/";
  Task task{data::load_citation(folder + "cora.nodes.tsv", folder + "cora.edges.txt", 1433),
            {},
            {},
            arguments.count("epochs", 200)};
  data::normalize_rows_l1(task.graph.inputs);
  task.val = task.graph.nodes(task.graph.val);
  task.test = task.graph.nodes(task.graph.test);
  Settings plan{arguments.count("seeds", 10), arguments.count("first", 0),  arguments.count("tuning", 3),
                arguments.count("arms", 10),  arguments.number("lr", 0.01), {}};
  std::istringstream given(arguments.text("lambdas", ""));
  for (std::string value; std::getline(given, value, ',');) plan.lambdas.push_back(std::stod(value));
  Scores scores(arguments.text("scores", ""));
  const std::string which = arguments.text("chain", "all");
  if (which == "all" || which == "CS") run_chain("GCN > GraphSAGE", task, std::tuple{gcn(), sage()}, plan, scores);
  if (which == "all" || which == "TC") run_chain("GAT > GCN", task, std::tuple{gat(), gcn()}, plan, scores);
  if (which == "all" || which == "CST")
    run_chain("GCN > GraphSAGE > GAT", task, std::tuple{gcn(), sage(), gat()}, plan, scores);
}
