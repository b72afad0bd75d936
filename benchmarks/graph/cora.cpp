// B1: BGNN on Cora. Chains C>S, T>C and C>S>T (GCN, GraphSAGE, GAT), arms of arms.hpp, born-again chains of the student's own
// architecture, the student alone, and the logit average of separately trained members. lambda is chosen for each arm and chain
// on the validation nodes with seeds of their own (1000, ...), the learning rate on the student alone; then fresh seeds.
// cora data=FOLDER [seeds=10] [tuning=3] [epochs=200] [chain=all|CS|TC|CST]

#include "arms.hpp"

using namespace experiment;
namespace gnn = nn::graph;
using C = nn::Sequential<gnn::Gcn, nn::Relu, gnn::Gcn>;
using S = nn::Sequential<gnn::Sage, nn::Relu, gnn::Sage>;
using T = nn::Sequential<gnn::Gat, nn::Relu, gnn::Gat>;

namespace {

struct Task {
  NodeDataset graph;
  NodeSubset val, test;
  int epochs;
};
struct Score {
  double val, test;
};

C gcn() { return C(gnn::Gcn{1433, 64, 0.5f}, nn::Relu{}, gnn::Gcn{64, 7, 0.5f}); }
S sage() { return S(gnn::Sage{1433, 64, 0.5f}, nn::Relu{}, gnn::Sage{64, 7, 0.5f}); }
T gat() { return T(gnn::Gat{1433, 8, 8, false, 0.5f, 0.5f}, nn::Relu{}, gnn::Gat{64, 7, 1, true, 0.5f, 0.5f}); }

template <class Net>
Score score(Net& network, const Task& task) {
  return {accuracy(network, task.val), accuracy(network, task.test)};
}
optim::Adam optimizer(float lr) { return {.lr = lr, .weight_decay = 5e-4f}; }

template <class Net>
std::pair<Score, Tensor<float, 2>> alone(const Task& task, Net architecture, std::uint64_t seed, float lr) {
  Network<Net> network(architecture, seed);
  NodeClassifier<Net> method{teacher::None{}, network};
  fit(method, task.graph, optimizer(lr), {.epochs = task.epochs, .seed = seed}, callbacks::OnNodes(task.graph, node_accuracy(task.val, "val")), callbacks::KeepBest(network, "val"));
  Cpu cpu;
  return {score(network, task), predict_logits(network, task.test, cpu)};
}
template <class... Nets>
Score chain_score(const Task& task, const std::tuple<Nets...>& nets, const Arm& arm, double lambda, std::uint64_t seed, float lr, std::vector<double>* evenness = nullptr, Report* last = nullptr) {
  AnyChain<Nets...> chain(nets, {.knowledge = knowledge_of(arm, lambda), .boost = {arm.code}});
  auto reports = fit_chain(chain, task.graph, optimizer(lr), {.epochs = task.epochs, .seed = seed}, [&](auto& network, int) {
    return std::tuple{callbacks::OnNodes(task.graph, node_accuracy(task.val, "val")), callbacks::KeepBest(network, "val"), callbacks::TemperatureLog{}};
  });
  if (evenness) evenness->push_back(boost::weight_evenness(chain.weights(sizeof...(Nets) - 1), detail::training_labels(task.graph)));
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
void run_chain(const std::string& title, const Task& task, std::tuple<Nets...> nets, int seeds, int tuning) {
  const auto student = std::get<sizeof...(Nets) - 1>(nets);
  const auto lr = choose<float>({0.005f, 0.01f, 0.05f}, tuning, [&](float r, std::uint64_t s) { return alone(task, student, s, r).first.val; });
  std::cout << "### " << title << "\n\nLearning rate " << lr << " (validation). lambda by arm:";
  const std::vector<double> lambdas{0.1, 0.5, 1, 5, 10};
  std::map<std::string, double> chosen;
  for (const Arm& arm : arms()) {
    chosen[arm.name] = choose<double>(lambdas, tuning, [&](double l, std::uint64_t s) { return chain_score(task, nets, arm, l, s, lr).val; });
    std::cout << ' ' << arm.name << ' ' << chosen[arm.name] << ';' << std::flush;
  }
  const auto own = std::tuple{(static_cast<void>(sizeof(Nets)), student)...};
  chosen["born again"] = choose<double>(lambdas, tuning, [&](double l, std::uint64_t s) { return chain_score(task, own, arms()[0], l, s, lr).val; });
  std::cout << " born again " << chosen["born again"] << ".\n\n";
  Table table;
  std::vector<double> evenness;
  Report last_ce, last_kl;
  for (int s = 0; s < seeds; ++s) {
    const auto seed = static_cast<std::uint64_t>(s);
    table.add("no KD", alone(task, student, seed, lr).first.test);
    for (const Arm& arm : arms()) {
      Report* report = arm.name == "BGNN (CE, w)" ? &last_ce : arm.name == "BGNN (KL, w)" ? &last_kl : nullptr;
      table.add(arm.name, chain_score(task, nets, arm, chosen[arm.name], seed, lr, arm.code == 1 && arm.knowledge == 1 ? &evenness : nullptr, report).test);
    }
    table.add("born-again chain", chain_score(task, own, arms()[0], chosen["born again"], seed, lr).test);
    std::vector<Tensor<float, 2>> members;
    std::apply([&](const auto&... n) { std::uint64_t k = 100 * (seed + 1); (members.push_back(alone(task, n, k++, lr).second), ...); }, nets);
    for (std::size_t m = 1; m < members.size(); ++m)
      for (index_t i = 0; i < members[0].size(); ++i) members[0].data()[i] += members[m].data()[i];
    table.add("logit average of the members", 100 * metrics::accuracy(members[0], task.test.label_view()));
  }
  table.print("no KD");
  table.print("fixed T = 4");
  std::cout << "Evenness of the label weights at the last link (entropy over its maximum): " << statistics::mean(evenness) << '\n';
  for (const auto& [name, report] : {std::pair{"CE", &last_ce}, std::pair{"KL", &last_kl}})
    std::cout << "tau of the last seed under " << name << ", last epoch: min " << report->final_metric("tau_min") << ", mean " << report->final_metric("tau_mean") << ", max "
              << report->final_metric("tau_max") << ", saturated share " << report->final_metric("tau_saturated") << '\n';
  std::cout << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  print_header("cora", arguments);
  const std::string folder = arguments.text("data", ".") + "/graphs/cora/";
  Task task{data::load_citation(folder + "cora.nodes.tsv", folder + "cora.edges.txt", 1433), {}, {}, arguments.count("epochs", 200)};
  data::normalize_rows_l1(task.graph.inputs);
  task.val = task.graph.nodes(task.graph.val);
  task.test = task.graph.nodes(task.graph.test);
  const int seeds = arguments.count("seeds", 10), tuning = arguments.count("tuning", 3);
  const std::string which = arguments.text("chain", "all");
  if (which == "all" || which == "CS") run_chain("GCN > GraphSAGE", task, std::tuple{gcn(), sage()}, seeds, tuning);
  if (which == "all" || which == "TC") run_chain("GAT > GCN", task, std::tuple{gat(), gcn()}, seeds, tuning);
  if (which == "all" || which == "CST") run_chain("GCN > GraphSAGE > GAT", task, std::tuple{gcn(), sage(), gat()}, seeds, tuning);
}
