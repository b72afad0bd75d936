// RELIANT's experiments: R1 (set=synthetic), R2 (set=bail, with_time=0 leaves the leaking column out) and German, with CPF's
// student or GraphAKD's (framework=akd). Arms: the framework alone, the penalty without proxy, RELIANT; all see the same features
// (proxy columns are appended), the same teacher and the same selection (validation accuracy, the later of equal epochs).
// fair data=FOLDER set=synthetic|bail|german [framework=cpf|akd] [seeds=5] [first=0] [epochs=300] [teacher_epochs=300]
// [alphas=1000|10] [penalty=1] [eo=0] [faithful=0] [lr=0.01] [decay=0.01|0.0005] [proxy_lr] [proxy_decay] [proxy_steps=1]
// [proxy_dropout=0] [columns=sums|standard] [scores=FILE] [teachers=STEM]
//
// columns=standard: columns with mean 0 and deviation 1 over the training nodes (German's default), else rows divided by their sums.
// faithful=1: as the published code runs it (retort::Faithful). lr is the opponents'; GraphAKD's student learns at a tenth of it.
// With scores=FILE each arm's scores go to FILE as soon as they are known, and are not computed twice; with teachers=STEM the
// teacher of seed k is kept in STEM-k, for more arms on the same task.

#include <iomanip>
#include <retort/graph/similarity.hpp>
#include <retort/method/reliant.hpp>
#include <sstream>
#include <retort/data/graph_files.hpp>

#include "disk/experiment.hpp"
#include "scores.hpp"

using namespace experiment;
namespace gnn = nn::graph;
struct embedding;
using Teacher = nn::Sequential<gnn::Gcn, nn::Relu, nn::Tap<embedding>, gnn::Gcn, nn::Relu, gnn::Gcn>;
using Sgc3 = nn::Sequential<gnn::Sgc, nn::Relu, nn::Dropout, gnn::Sgc, nn::Relu, nn::Tap<embedding>, nn::Dropout, gnn::Sgc>;

namespace {

/// What an arm achieves, %; on the test nodes but for `val` (accuracy) and `val_sp`.
struct Outcome {
  double accuracy, sp, eo, balanced, auc, val, val_sp;
  static constexpr std::pair<const char*, double Outcome::*> parts[] = {{"ACC", &Outcome::accuracy},    {"dSP", &Outcome::sp}, {"dEO", &Outcome::eo},
                                                                        {"balanced", &Outcome::balanced}, {"AUC", &Outcome::auc}, {"val ACC", &Outcome::val}, {"val dSP", &Outcome::val_sp}};
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
  return d;
}
NodeDataset german(const std::string& folder) {
  auto d = data::load_node_table(folder + "/graphs/german/german.csv",
                                 {.label = "GoodCustomer", .sensitive = "Gender", .sensitive_one = "Female", .drop = {"PurposeOfLoan", "OtherLoansAtStore"}});
  d.adjacency = graph::Adjacency(d.size(), data::read_edges(folder + "/graphs/german/german_edges.int.txt", d.size()), {.loops = true});
  return d;
}

template <class Net>
Outcome evaluate(Net& network, const Task& task) {
  Cpu cpu;
  const auto all = predict_logits(network, task.graph, cpu);
  const auto of = [&](const NodeSubset& part) { return std::pair{rows_of(all.view(), part.which), fair::group_report(rows_of(all.view(), part.which), part.label_view(), part.sensitive_view())}; };
  const auto [logits, r] = of(task.test);
  const auto y = task.test.label_view();
  const auto val = of(task.val);
  return {100 * metrics::accuracy(logits, y), 100 * r.delta_sp(), 100 * r.delta_eo(), 100 * fair::balanced_accuracy(logits, y), 100 * fair::auc(logits, y),
          100 * metrics::accuracy(val.first, task.val.label_view()), 100 * val.second.delta_sp()};
}

template <class Method, class Net>
Outcome train(Method& method, Net& network, const Task& task, const optim::Adam& optimizer, int epochs, std::uint64_t seed, bool dropout = false, const std::string& file = {}) {
  callbacks::KeepBest best(network, "val");
  callbacks::OnNodes validation(task.graph, node_accuracy(task.val, "val"), task.graph.size() > 10000 ? 5 : 1, dropout);
  if (file.empty())
    fit(method, task.graph, optimizer, {.epochs = epochs, .seed = seed}, validation, best);
  else
    fit(method, task.graph, optimizer, {.epochs = epochs, .seed = seed, .resume = file}, validation, best, callbacks::Checkpoint{file, epochs});
  return evaluate(network, task);
}

/// Held-out accuracy of a logistic regression from some rows of the proxy to the group.
double probe(View<const float, 2> proxy, const std::vector<std::int32_t>& sensitive, std::span<const index_t> which, std::uint64_t seed) {
  std::vector<std::int32_t> group;
  for (const index_t i : which) group.push_back(sensitive[static_cast<std::size_t>(i)]);
  Dataset<2> set{rows_of(proxy, which), group, 2, "proxy"};
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
  std::map<std::string, std::vector<Outcome>> by_arm;
  std::vector<std::string> order;
  void add(const std::string& arm, const Outcome& s) {
    if (!by_arm.count(arm)) order.push_back(arm);
    by_arm[arm].push_back(s);
  }
  std::vector<double> column(const std::string& arm, double Outcome::*m) const {
    std::vector<double> out;
    for (const auto& s : by_arm.at(arm)) out.push_back(s.*m);
    return out;
  }
  void print(const std::string& base) const {
    std::cout << "|arm|ACC|dSP|dEO|balanced|AUC|ACC minus " << base << "|dSP minus " << base << "|p (t, two-sided)|seeds with smaller dSP|\n|---|---|---|---|---|---|---|---|---|---|\n"
              << std::fixed << std::setprecision(2);
    for (const auto& arm : order) {
      std::cout << '|' << arm;
      for (double Outcome::*m : {&Outcome::accuracy, &Outcome::sp, &Outcome::eo, &Outcome::balanced, &Outcome::auc}) {
        const auto v = column(arm, m);
        std::cout << '|' << statistics::mean(v);
        if (v.size() > 1) std::cout << " ± " << statistics::standard_deviation(v);
      }
      const auto a = column(arm, &Outcome::sp), b = column(base, &Outcome::sp);
      if (arm == base || arm == "teacher" || a.size() < 2 || a.size() != b.size()) {
        std::cout << "|||||\n";
        continue;
      }
      int smaller = 0;
      for (std::size_t i = 0; i < a.size(); ++i) smaller += a[i] < b[i];
      std::cout << std::showpos << '|' << statistics::mean(column(arm, &Outcome::accuracy)) - statistics::mean(column(base, &Outcome::accuracy)) << '|'
                << statistics::mean(a) - statistics::mean(b) << std::noshowpos << '|' << std::setprecision(4) << statistics::paired_t_test(a, b).p_two_sided << std::setprecision(2) << '|'
                << smaller << " of " << a.size() << "|\n";
    }
    std::cout << std::endl;
  }
};

/// CPF's student, or any framework: how its networks and policies are made for `f` features.
struct CpfFramework {
  using Vanilla = Cpf<Teacher, gnn::Plp>;
  static constexpr const char* name = "vanilla CPF";
  static constexpr double alpha = Faithful::cpf_alpha, decay = 0.01, student_rate = 1;
  static constexpr nn::ProxyPlace faithful_place = Faithful::cpf_place;
  static constexpr bool faithful_dropout = false;
  static gnn::Plp student(index_t f, const Task& task) { return {.in = f, .classes = 2, .nodes = task.graph.size(), .steps = task.steps}; }
  static loss::CpfKnowledge knowledge(bool) { return Faithful::cpf; }
  static Vanilla::censor censor(const optim::Adam&) { return {}; }
};
struct AkdFramework {
  using Vanilla = GraphAkd<Teacher, Sgc3, embedding>;
  static constexpr const char* name = "vanilla GraphAKD";
  static constexpr double alpha = Faithful::graph_akd_alpha, decay = 5e-4, student_rate = 0.1;
  static constexpr nn::ProxyPlace faithful_place = nn::ProxyPlace::append;
  static constexpr bool faithful_dropout = Faithful::graph_akd_selects_with_dropout;
  static Sgc3 student(index_t f, const Task&) {
    return Sgc3(gnn::Sgc{f, 64, 1, true}, nn::Relu{}, nn::Dropout{0.5f}, gnn::Sgc{64, 64, 1, true}, nn::Relu{}, {}, nn::Dropout{0.5f}, gnn::Sgc{64, 2, 1, true});
  }
  static loss::GraphAkdKnowledge knowledge(bool faithful) { return faithful ? Faithful::graph_akd : loss::GraphAkdKnowledge{}; }
  static Vanilla::censor censor(const optim::Adam& optimizer) { return Vanilla::censor({.width = 64, .optimizer = optimizer}); }
};

Task task_of(const Arguments& arguments, const std::string& set, std::uint64_t seed) {
  const std::string folder = arguments.text("data", ".");
  Task task{set == "synthetic" ? synthetic(seed) : set == "bail" ? bail(folder, arguments.count("with_time", 1) != 0) : german(folder), {}, {}, set == "german" ? 8 : 10};
  if (set == "bail") task.graph.split(0.3, 0.2, seed);  // 5,663 / 3,775 / 9,438, stratified by label and WHITE
  if (set == "german") task.graph.split(0.5, 0.25, seed);
  // German's rows divided by their sums are all LoanAmount: the teacher names one class
  const std::string columns = arguments.text("columns", set == "synthetic" ? "raw" : set == "bail" ? "sums" : "standard");
  if (columns == "standard") data::standardize_columns(task.graph.inputs.view(), task.graph.train);
  if (columns == "sums") data::normalize_rows_l1(task.graph.inputs);
  task.val = task.graph.nodes(task.graph.val);
  task.test = task.graph.nodes(task.graph.test);
  return task;
}

template <class Framework, class Notion>
void run(const Arguments& arguments) {
  using Vanilla = typename Framework::Vanilla;
  using Net = typename Vanilla::student::network_type::architecture_type;
  using Fair = Reliant<Vanilla, Notion>;
  using Penalty = PenaltyOnly<Vanilla, Notion>;
  const std::string set = arguments.text("set", "synthetic");
  const int seeds = arguments.count("seeds", 5), epochs = arguments.count("epochs", 300), teacher_epochs = arguments.count("teacher_epochs", 300), first = arguments.count("first", 0);
  const bool faithful = arguments.count("faithful", 0) != 0;
  std::vector<double> alphas;
  std::stringstream list(arguments.text("alphas", std::to_string(Framework::alpha)));
  for (std::string word; std::getline(list, word, ',');) alphas.push_back(std::stod(word));
  const double lr = arguments.number("lr", 0.01), decay = arguments.number("decay", Framework::decay);
  const optim::Adam optimizer{.lr = static_cast<float>(lr * Framework::student_rate), .weight_decay = static_cast<float>(decay)};
  const typename Fair::student::Options opponent{.optimizer = {.lr = static_cast<float>(arguments.number("proxy_lr", lr)), .weight_decay = static_cast<float>(arguments.number("proxy_decay", decay))},
                                                 .steps = arguments.count("proxy_steps", 1),
                                                 .dropout = arguments.count("proxy_dropout", 0) != 0};
  const auto place = faithful ? Framework::faithful_place : nn::ProxyPlace::append;
  Scores scores(arguments.text("scores", ""));
  Tables tables;
  std::map<std::string, std::vector<double>> more;  // by name, one per seed
  for (int k = first; k < first + seeds; ++k) {
    const auto seed = static_cast<std::uint64_t>(k);
    const Task task = task_of(arguments, set, seed);
    const index_t f = task.graph.inputs.extent(1);
    Network<Teacher> teacher(Teacher(gnn::Gcn{f, 64}, nn::Relu{}, {}, gnn::Gcn{64, 64, 0.8f}, nn::Relu{}, gnn::Gcn{64, 2, 0.8f}), seed);
    const auto key = [&](const std::string& what) { return what + ", " + std::to_string(k); };
    const auto known = [&](const std::string& arm) { return scores.find(key(arm + ", " + Outcome::parts[0].first)).has_value(); };
    const auto arm = [&](const std::string& name, auto&& train_it) {
      Outcome o{};
      if (!known(name)) {
        o = train_it();
        for (const auto& [part, member] : Outcome::parts) scores.keep(key(name + ", " + part), o.*member);
      }
      for (const auto& [part, member] : Outcome::parts) o.*member = *scores.find(key(name + ", " + part));
      tables.add(name, o);
    };
    bool taught = false;
    const auto teach = [&] {
      NodeClassifier<Teacher> labels{teacher::None{}, teacher};
      taught = true;
      const std::string stem = arguments.text("teachers", "");
      return train(labels, teacher, task, {.lr = 0.01f, .weight_decay = 1e-3f}, teacher_epochs, seed, false, stem.empty() ? stem : stem + "-" + std::to_string(k));
    };
    const auto taught_teacher = [&]() -> Network<Teacher>& {  // scores of it may be known from a run that was cut off
      if (!taught) teach();
      return teacher;
    };
    arm("teacher", teach);
    more["base-rate gap of the test nodes"].push_back(100 * fair::group_report(Tensor<float, 2>(Shape{task.test.size(), index_t{2}}), task.test.label_view(), task.test.sensitive_view()).base_rate_gap());
    const auto student_arm = [&]<class Method>(std::type_identity<Method>, const std::string& name, const typename Method::loss& loss) {
      arm(name, [&] {
        Network<Net> student(Framework::student(f, task), seed + 1);
        Method method{taught_teacher(), student, loss, Framework::censor(opponent.optimizer)};
        return train(method, student, task, optimizer, epochs, seed, faithful && Framework::faithful_dropout);
      });
    };
    student_arm(std::type_identity<Vanilla>{}, Framework::name, Framework::knowledge(faithful));
    for (const double alpha : alphas) {
      std::ostringstream name;
      name << ", alpha " << alpha;
      if (arguments.count("penalty", 1)) student_arm(std::type_identity<Penalty>{}, "penalty only" + name.str(), typename Penalty::loss(Framework::knowledge(faithful), {.alpha = alpha}));
      const std::string own = "RELIANT" + name.str();
      arm(own, [&] {
        Network<nn::ProxyColumns<Net>> student({Framework::student(place == nn::ProxyPlace::append ? f + 2 : f, task), f, 2, place}, seed + 1);
        Fair method{taught_teacher(), typename Fair::student(student, opponent), typename Fair::loss(Framework::knowledge(faithful), {.alpha = alpha}), Framework::censor(opponent.optimizer)};
        const auto outcome = train(method, student, task, optimizer, epochs, seed, faithful && Framework::faithful_dropout);
        std::vector<index_t> others;  // where CPF's J counts
        for (const auto* part : {&task.graph.val, &task.graph.test}) others.insert(others.end(), part->begin(), part->end());
        std::vector<index_t> all = others;
        all.insert(all.end(), task.graph.train.begin(), task.graph.train.end());
        scores.keep(key(own + ", probe"), probe(method.student_policy().proxy(), task.graph.sensitive, all, seed));
        scores.keep(key(own + ", probe of val and test"), probe(method.student_policy().proxy(), task.graph.sensitive, others, seed));
        return outcome;
      });
      for (const char* which : {", probe", ", probe of val and test"}) more[own + which].push_back(*scores.find(key(own + which)));
    }
    std::clog << "seed " << k << " done\n";
  }
  tables.print(Framework::name);
  for (const auto& [name, values] : more) {
    std::cout << "* " << name << ':';
    for (const double v : values) std::cout << ' ' << v;
    std::cout << " %\n";
  }
  std::cout << "\nBy seed, ACC/dSP (validation: ACC/dSP):";
  for (const auto& arm : tables.order) {
    std::cout << "\n* " << arm << ':';
    for (const auto& s : tables.by_arm.at(arm)) std::cout << ' ' << s.accuracy << '/' << s.sp << " (" << s.val << '/' << s.val_sp << ')';
  }
  std::cout << std::endl;
}

template <class Notion>
void run_framework(const Arguments& arguments) {
  arguments.text("framework", "cpf") == "akd" ? run<AkdFramework, Notion>(arguments) : run<CpfFramework, Notion>(arguments);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  print_header("fair", arguments);
  if (!arguments.count("eo", 0))
    run_framework<fair::StatisticalParity>(arguments);
  else if (arguments.count("faithful", 0))
    run_framework<Faithful::EqualOpportunity>(arguments);
  else
    run_framework<fair::EqualOpportunity>(arguments);
}
