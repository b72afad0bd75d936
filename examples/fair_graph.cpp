// RELIANT: a student that does not hand on its teacher's bias. On a graph of two groups a GCN teaches students of label propagation:
// plainly, with a fairness penalty, and with RELIANT's proxy of bias beside it. With RETORT_DATA_DIR, --german trains on the
// German credit graph instead. Usage: fair_graph [--short] [--german]

#include <filesystem>
#include <iomanip>
#include <iostream>
#include <retort.hpp>
#include <retort/data/graph_files.hpp>

using namespace retort;
using Gcn = nn::Sequential<nn::graph::Gcn, nn::Relu, nn::graph::Gcn>;
using Plain = Cpf<Gcn, nn::graph::Plp>;
using Penalised = PenaltyOnly<Plain>;
using Fair = Reliant<Plain>;

/// Two groups with base rates .6 and .4; features and edges tell of the label and of the group.
NodeDataset two_groups(index_t n) {
  Rng rng(1);
  NodeDataset d{Tensor<float, 2>(Shape{n, 8}), {}, 2, "two groups", {}, {}, {}, {}, {}};
  for (index_t i = 0; i < n; ++i) {
    const int s = static_cast<int>(i % 2), y = rng.uniform_double() < (s ? 0.4 : 0.6);
    d.sensitive.push_back(s), d.labels.push_back(y);
    for (index_t c = 0; c < 8; ++c) d.inputs(i, c) = static_cast<float>(rng.normal() + (c < 4 ? 0.6 * (2 * y - 1) : 0.6 * (2 * s - 1)));
  }
  std::vector<graph::Edge> edges;
  for (std::int32_t u = 0; u < n; ++u)
    for (std::int32_t v = u + 1; v < n; ++v) {
      const auto a = static_cast<std::size_t>(u), b = static_cast<std::size_t>(v);
      if (rng.uniform_double() * static_cast<double>(n) < 4 * (1 + (d.labels[a] == d.labels[b]) + 2 * (d.sensitive[a] == d.sensitive[b]))) edges.push_back({u, v});
    }
  d.adjacency = graph::Adjacency(n, edges, {.loops = true});
  return d;
}

int main(int argc, char** argv) {
  bool brief = false, real = false;
  for (int i = 1; i < argc; ++i) brief |= std::string(argv[i]) == "--short", real |= std::string(argv[i]) == "--german";
  NodeDataset data = two_groups(brief ? 300 : 1000);
  if (real) {
    const char* root = std::getenv("RETORT_DATA_DIR");
    const std::string folder = std::string(root ? root : RETORT_DATA_DIR) + "/graphs/german/";
    data = data::load_node_table(folder + "german.csv", {.label = "GoodCustomer", .sensitive = "Gender", .sensitive_one = "Female", .drop = {"PurposeOfLoan", "OtherLoansAtStore"}});
    data.adjacency = graph::Adjacency(data.size(), data::read_edges(folder + "german_edges.int.txt", data.size()), {.loops = true});
    data::normalize_rows_l1(data.inputs);
  }
  data.split(0.3, 0.2, 1);
  const auto val = data.nodes(data.val), test = data.nodes(data.test);
  const index_t f = data.inputs.extent(1);
  const optim::Adam optimizer{.lr = 0.01f, .weight_decay = 1e-3f};
  std::cout << "student          accuracy   dSP     dEO   (test nodes, %)\n";
  double gap = 0;
  const auto train = [&](const char* name, auto& method, auto& network) {
    fit(method, data, optimizer, {.epochs = brief ? 60 : 200, .seed = 1}, callbacks::OnNodes(data, node_accuracy(val, "val")), callbacks::KeepBest(network, "val"),
        callbacks::ProgressBar{std::clog, 1});
    Cpu cpu;
    const auto logits = predict_logits(network, test, cpu);
    const auto r = fair::group_report(logits, test.label_view(), test.sensitive_view());
    std::cout << std::left << std::setw(16) << name << std::right << std::fixed << std::setprecision(1) << std::setw(8) << 100 * metrics::accuracy(logits, test.label_view())
              << std::setw(8) << 100 * r.delta_sp() << std::setw(8) << 100 * r.delta_eo() << '\n';
    gap = r.base_rate_gap();
    return std::pair{metrics::accuracy(logits, test.label_view()), r.delta_sp()};
  };

  Network<Gcn> teacher(Gcn(nn::graph::Gcn{f, 32}, nn::Relu{}, nn::graph::Gcn{32, 2, 0.5f}), 1);
  NodeClassifier<Gcn> labels{teacher::None{}, teacher};
  train("teacher", labels, teacher);

  const auto plp = [&](index_t inputs) {
    return nn::graph::Plp{.in = inputs, .classes = 2, .nodes = data.size(), .steps = 6, .hidden = 16, .feature_dropout = 0.3f, .attention_dropout = 0.1f};
  };
  Network<nn::graph::Plp> plain(plp(f), 2), penalised(plp(f), 2);
  Plain cpf{teacher, plain};
  const auto vanilla = train("CPF", cpf, plain);
  Penalised penalty{teacher, penalised, Penalised::loss(loss::CpfKnowledge{}, {.alpha = 100})};
  const auto held = train("CPF, penalty", penalty, penalised);
  Network<nn::ProxyColumns<nn::graph::Plp>> fair({plp(f + 2), f}, 2);
  Fair reliant{teacher, fair, Fair::loss(loss::CpfKnowledge{}, {.alpha = 100})};
  const auto result = train("RELIANT", reliant, fair);
  std::cout << "a perfect classifier's dSP here: " << 100 * gap << '\n';
  return real || (result.second < vanilla.second && held.second < vanilla.second && result.first > 0.5) ? 0 : 1;
}
