// RELIANT's experiments with CPF students: R1 (set=synthetic), R2 (set=bail, with_time=0 leaves the leaking column out) and German.
// Arms: vanilla CPF, the penalty without proxy, RELIANT; all see the same features (proxy columns are appended), the same
// teacher and the same selection (validation accuracy, the later of equal epochs).
// fair data=FOLDER set=synthetic|bail|german [seeds=5] [epochs=300] [teacher_epochs=300] [alphas=1000] [first=0] [penalty=1] [eo=0]
// [decay=0.01] [proxy_lr=0.01] [proxy_decay=0.01] [proxy_steps=1]

#include <retort/graph/similarity.hpp>
#include <retort/method/reliant.hpp>
#include <sstream>

#include "disk/experiment.hpp"

using namespace experiment;
namespace gnn = nn::graph;
using Gcn3 = nn::Sequential<gnn::Gcn, nn::Relu, gnn::Gcn, nn::Relu, gnn::Gcn>;
using Vanilla = Cpf<Gcn3, gnn::Plp>;

namespace {

struct Scores {
  double accuracy, sp, eo, balanced, auc, val;
};
struct Task {
  NodeDataset graph;
  NodeSubset val, test;
  int steps = 10;
};

/// Two blocks of equal size by group, base rates .6 and .4; features and edges carry both label and group.
NodeDataset synthetic(std::uint64_t seed) {
  const index_t n = 2000;
  Rng rng = Rng(seed).fork(0x73626d);
  NodeDataset d;
  d.inputs = Tensor<float, 2>(Shape{n, 10});
  d.classes = 2;
  d.name = "two-group block model";
  for (index_t i = 0; i < n; ++i) {
    const int s = static_cast<int>(i % 2), y = rng.uniform_double() < (s ? 0.4 : 0.6);
    d.sensitive.push_back(s);
    d.labels.push_back(y);
    for (index_t c = 0; c < 10; ++c) d.inputs(i, c) = static_cast<float>(rng.normal() + (c < 4 ? 0.35 * (2 * y - 1) : c < 8 ? 0.6 * (2 * s - 1) : 0.));
  }
  std::vector<graph::Edge> edges;
  for (std::int32_t u = 0; u < n; ++u)
    for (std::int32_t v = u + 1; v < n; ++v) {
      const auto a = static_cast<std::size_t>(u), b = static_cast<std::size_t>(v);
      const double rate = 0.002 * (1 + 1.0 * (d.labels[a] == d.labels[b]) + 3.0 * (d.sensitive[a] == d.sensitive[b]));
      if (rng.uniform_double() < rate) edges.push_back({u, v});
    }
  d.adjacency = graph::Adjacency(n, edges, {.loops = true});
  d.split(0.3, 0.2, seed);
  return d;
}
NodeDataset bail(const std::string& folder, bool with_time) {
  auto d = data::load_node_table(folder + "/graphs/bail/bail.csv", {.label = "RECID", .sensitive = "WHITE"});
  const auto edges = data::read_edges(folder + "/graphs/bail/bail_edges.txt", d.size());  // the rule of graph::similarity_edges: a test rebuilds it
  if (!with_time) d = data::load_node_table(folder + "/graphs/bail/bail.csv", {.label = "RECID", .sensitive = "WHITE", .drop = {"TIME"}});
  d.adjacency = graph::Adjacency(d.size(), edges, {.loops = true});
  data::normalize_rows_l1(d.inputs);
  return d;
}
NodeDataset german(const std::string& folder) {
  auto d = data::load_node_table(folder + "/graphs/german/german.csv",
                                 {.label = "GoodCustomer", .sensitive = "Gender", .sensitive_one = "Female", .drop = {"PurposeOfLoan", "OtherLoansAtStore"}});
  d.adjacency = graph::Adjacency(d.size(), data::read_edges(folder + "/graphs/german/german_edges.int.txt", d.size()), {.loops = true});
  return d;
}

template <class Net>
Scores evaluate(Net& network, const Task& task, double val) {
  Cpu cpu;
  const auto logits = predict_logits(network, task.test, cpu);
  const auto y = task.test.label_view();
  const auto r = fair::group_report(logits, y, task.test.sensitive_view());
  return {100 * metrics::accuracy(logits, y), 100 * r.delta_sp(), 100 * r.delta_eo(), 100 * fair::balanced_accuracy(logits, y), 100 * fair::auc(logits, y), val};
}

template <class Method, class Net>
Scores train(Method& method, Net& network, const Task& task, const optim::Adam& optimizer, int epochs, std::uint64_t seed) {
  callbacks::KeepBest best(network, "val");
  fit(method, task.graph, optimizer, {.epochs = epochs, .seed = seed}, callbacks::OnNodes(task.graph, node_accuracy(task.val, "val"), task.graph.size() > 10000 ? 5 : 1), best);
  return evaluate(network, task, 100 * best.best());
}

/// Held-out accuracy of a logistic regression from the proxy's rows to the group.
double probe(View<const float, 2> proxy, const std::vector<std::int32_t>& group, std::uint64_t seed) {
  Dataset<2> set{Tensor<float, 2>(proxy.shape), group, 2, "proxy"};
  std::copy(proxy.begin(), proxy.end(), set.inputs.begin());
  std::vector<index_t> all(group.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<index_t>(i);
  data::standardize_columns(set.inputs.view(), all);
  const auto parts = set.split(0.5, seed);
  using Logistic = nn::Sequential<nn::Linear>;
  Network<Logistic> network(Logistic(nn::Linear{2, 2}), seed);
  LabelsOnly<Logistic> method{teacher::None{}, network};
  fit(method, parts.train, optim::Adam{.lr = 0.05f}, {.epochs = 30, .batch_size = 128, .seed = seed});
  return accuracy(network, parts.test);
}

struct Tables {
  std::map<std::string, std::vector<Scores>> by_arm;
  std::vector<std::string> order;
  void add(const std::string& arm, const Scores& s) {
    if (!by_arm.count(arm)) order.push_back(arm);
    by_arm[arm].push_back(s);
  }
  std::vector<double> column(const std::string& arm, double Scores::*m) const {
    std::vector<double> out;
    for (const auto& s : by_arm.at(arm)) out.push_back(s.*m);
    return out;
  }
  void print(const std::string& base) const {
    std::cout << "|arm|ACC|dSP|dEO|balanced|AUC|ACC minus " << base << "|dSP minus " << base << "|p (t, two-sided)|seeds with smaller dSP|\n|---|---|---|---|---|---|---|---|---|---|\n"
              << std::fixed << std::setprecision(2);
    for (const auto& arm : order) {
      std::cout << '|' << arm;
      for (double Scores::*m : {&Scores::accuracy, &Scores::sp, &Scores::eo, &Scores::balanced, &Scores::auc}) {
        const auto v = column(arm, m);
        std::cout << '|' << statistics::mean(v);
        if (v.size() > 1) std::cout << " ± " << statistics::standard_deviation(v);
      }
      const auto a = column(arm, &Scores::sp), b = column(base, &Scores::sp);
      if (arm == base || arm == "teacher" || a.size() < 2 || a.size() != b.size()) {
        std::cout << "|||||\n";
        continue;
      }
      int smaller = 0;
      for (std::size_t i = 0; i < a.size(); ++i) smaller += a[i] < b[i];
      std::cout << std::showpos << '|' << statistics::mean(column(arm, &Scores::accuracy)) - statistics::mean(column(base, &Scores::accuracy)) << '|'
                << statistics::mean(a) - statistics::mean(b) << std::noshowpos << '|' << std::setprecision(4) << statistics::paired_t_test(a, b).p_two_sided << std::setprecision(2) << '|'
                << smaller << " of " << a.size() << "|\n";
    }
    std::cout << std::endl;
  }
};

template <class Notion>
void run(const Arguments& arguments) {
  const std::string set = arguments.text("set", "synthetic"), folder = arguments.text("data", ".");
  const int seeds = arguments.count("seeds", 5), epochs = arguments.count("epochs", 300), teacher_epochs = arguments.count("teacher_epochs", 300), first = arguments.count("first", 0);
  std::vector<double> alphas;
  std::stringstream list(arguments.text("alphas", "1000"));
  for (std::string word; std::getline(list, word, ',');) alphas.push_back(std::stod(word));
  Tables tables;
  std::vector<double> probes, gaps;
  using Fair = Reliant<Vanilla, Notion>;
  using Penalty = PenaltyOnly<Vanilla, Notion>;
  for (int k = first; k < first + seeds; ++k) {
    const auto seed = static_cast<std::uint64_t>(k);
    Task task{set == "synthetic" ? synthetic(seed) : set == "bail" ? bail(folder, arguments.count("with_time", 1) != 0) : german(folder), {}, {}, set == "german" ? 8 : 10};
    if (set == "bail") task.graph.split(0.3, 0.2, seed);  // 5,663 / 3,775 / 9,438, stratified by label and WHITE
    if (set == "german") {  // rows of raw columns divided by their sums are all LoanAmount: the teacher names one class
      task.graph.split(0.5, 0.25, seed);
      data::standardize_columns(task.graph.inputs.view(), task.graph.train);
    }
    task.val = task.graph.nodes(task.graph.val);
    task.test = task.graph.nodes(task.graph.test);
    const index_t f = task.graph.inputs.extent(1), n = task.graph.size();
    Network<Gcn3> teacher(Gcn3(gnn::Gcn{f, 64}, nn::Relu{}, gnn::Gcn{64, 64, 0.8f}, nn::Relu{}, gnn::Gcn{64, 2, 0.8f}), seed);
    NodeClassifier<Gcn3> labels{teacher::None{}, teacher};
    tables.add("teacher", train(labels, teacher, task, {.lr = 0.01f, .weight_decay = 1e-3f}, teacher_epochs, seed));
    {
      Cpu cpu;
      const auto logits = predict_logits(teacher, task.test, cpu);
      gaps.push_back(100 * fair::group_report(logits, task.test.label_view(), task.test.sensitive_view()).base_rate_gap());
    }
    const optim::Adam optimizer{.lr = 0.01f, .weight_decay = static_cast<float>(arguments.number("decay", 0.01))};
    const auto plp = [&](index_t columns) { return gnn::Plp{.in = f + columns, .classes = 2, .nodes = n, .steps = task.steps}; };
    {
      Network<gnn::Plp> student(plp(0), seed + 1);
      Vanilla method{teacher, student};
      tables.add("vanilla CPF", train(method, student, task, optimizer, epochs, seed));
    }
    for (const double alpha : alphas) {
      std::ostringstream name;
      name << ", alpha " << alpha;
      if (arguments.count("penalty", 1)) {
        Network<gnn::Plp> student(plp(0), seed + 1);
        Penalty method{teacher, student, typename Penalty::loss(loss::CpfKnowledge{}, {.alpha = alpha})};
        tables.add("penalty only" + name.str(), train(method, student, task, optimizer, epochs, seed));
      }
      Network<nn::ProxyColumns<gnn::Plp>> student({plp(2), f}, seed + 1);
      Fair method{teacher,
                  typename Fair::student(student, {.optimizer = {.lr = static_cast<float>(arguments.number("proxy_lr", 0.01)),
                                                                 .weight_decay = static_cast<float>(arguments.number("proxy_decay", 0.01))},
                                                   .steps = arguments.count("proxy_steps", 1)}),
                  typename Fair::loss(loss::CpfKnowledge{}, {.alpha = alpha})};
      tables.add("RELIANT" + name.str(), train(method, student, task, optimizer, epochs, seed));
      if (alpha == alphas.back()) probes.push_back(probe(method.student_policy().proxy(), task.graph.sensitive, seed));
    }
    std::clog << "seed " << k << " done\n";
  }
  tables.print("vanilla CPF");
  std::cout << "Base-rate gap of the test nodes: " << statistics::mean(gaps) << ". Logistic probe group <- P, alpha " << alphas.back() << ":";
  for (const double p : probes) std::cout << ' ' << p;
  std::cout << " %.\n\nBy seed, ACC/dSP:";
  for (const auto& arm : tables.order) {
    std::cout << "\n* " << arm << ':';
    for (const auto& s : tables.by_arm.at(arm)) std::cout << ' ' << s.accuracy << '/' << s.sp;
  }
  std::cout << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  print_header("fair", arguments);
  arguments.count("eo", 0) ? run<fair::EqualOpportunity>(arguments) : run<fair::StatisticalParity>(arguments);
}
