#include <doctest/doctest.h>

#include <fstream>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/data/graph_files.hpp>
#include <retort/graph/similarity.hpp>
#include <retort/loss/node.hpp>
#include <retort/nn/graph/layers.hpp>
#include <retort/source/graph.hpp>
#include <retort/train/fit.hpp>

#include "real_data.hpp"
#include "scratch_folder.hpp"

using namespace retort;

namespace {
const char* const citation_home = "github.com/kimiyoung/planetoid";
const char* const fair_home = "github.com/chirag126/nifty";
const char* const tu_home = "chrsmrrs.github.io/datasets";

NodeDataset path_graph() {  // 0 - 1 - 2 - 3, and 4 alone
  NodeDataset d;
  d.inputs = Tensor<float, 2>(Shape{5, 2});
  for (index_t i = 0; i < 10; ++i) d.inputs.data()[i] = static_cast<float>(i);
  d.labels = {0, 1, 0, 1, -1};
  d.classes = 2;
  d.name = "path";
  const graph::Edge edges[] = {{0, 1}, {1, 2}, {2, 3}};
  d.adjacency = graph::Adjacency(5, edges);
  d.sensitive = {0, 1, 1, 0, 0};
  d.train = {0, 1};
  d.val = {2};
  d.test = {3};
  return d;
}
void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
}  // namespace

TEST_CASE("adjacency: both ways, once each, sorted; loops; errors name the edge") {
  const graph::Edge edges[] = {{2, 0}, {0, 2}, {1, 0}, {1, 1}};
  const graph::Adjacency a(4, edges);
  CHECK(a.undirected_edges() == 2);
  CHECK(std::vector<std::int32_t>(a.sources(0).begin(), a.sources(0).end()) == std::vector<std::int32_t>{1, 2});
  CHECK(a.sources(3).empty());
  CHECK(a.symmetric());
  CHECK(a.with_loops().entries() == 8);
  CHECK(a.with_loops().undirected_edges() == 2);
  const graph::Adjacency directed(4, edges, {.undirected = false});
  CHECK(directed.entries() == 3);
  CHECK_FALSE(directed.symmetric());
  CHECK(graph::Adjacency(3, {}).entries() == 0);  // a graph without edges
  const graph::Edge missing[] = {{0, 1}, {1, 4}};
  CHECK_THROWS_WITH_AS(graph::Adjacency(4, missing), "graph::Adjacency: edge 1 joins nodes 1 and 4, the graph has nodes 0 to 3", value_error);
  const std::int32_t labels[] = {0, 1, 0, -1};
  CHECK(graph::homophily(a, labels) == 0.5);
}

TEST_CASE("node data: what is wrong is named") {
  path_graph().validate();
  const auto broken = [](auto change) {
    auto d = path_graph();
    change(d);
    return d;
  };
  CHECK_THROWS_WITH_AS(broken([](auto& d) { d.val = {1}; }).validate(), "graph 'path': the split names node 1 twice, in train and in val", value_error);
  CHECK_THROWS_WITH_AS(broken([](auto& d) { d.test = {5}; }).validate(), "graph 'path': the test part names node 5, there are 0 to 4", value_error);
  CHECK_THROWS_WITH_AS(broken([](auto& d) { d.train = {4}; }).validate(), "graph 'path': node 4 is one to train on and has no label", value_error);
  CHECK_THROWS_AS(broken([](auto& d) { d.sensitive[0] = 2; }).validate(), value_error);
  CHECK_THROWS_AS(broken([](auto& d) { d.labels.pop_back(); }).validate(), shape_error);
  CHECK_THROWS_AS(broken([](auto& d) { d.adjacency = graph::Adjacency(4, {}); }).validate(), shape_error);
  CHECK_THROWS_AS(broken([](auto& d) { d.train.clear(); }).validate(), value_error);
  auto d = path_graph();
  for (int i = 0; i < 5; ++i) d.labels[4] = 0;
  d.split(0.4, 0.2, 1);
  CHECK(d.train.size() + d.val.size() + d.test.size() == 5);
  d.validate();
  CHECK_THROWS_AS(d.split(0.7, 0.3, 1), value_error);
}

TEST_CASE("a graph goes through fit: one batch of all nodes, labels of training nodes alone; without edges too") {
  for (const bool edges : {true, false}) {
    auto d = path_graph();
    if (!edges) d.adjacency = graph::Adjacency(5, {});
    Cpu cpu;
    source::Dataset policy;
    source::Dataset::State<float, Cpu, NodeDataset> state(policy, Setup<Cpu>{cpu, 2, 5, 64, 0}, d);
    GraphBatch<float> batch;
    state.begin(0);
    REQUIRE(state.next(batch));
    CHECK(std::vector<std::int32_t>(batch.labels.begin(), batch.labels.end()) == std::vector<std::int32_t>{0, 1, ignored_label, ignored_label, ignored_label});
    CHECK(batch.graph->nodes() == 5);
    CHECK_FALSE(state.next(batch));

    using Net = nn::Sequential<nn::graph::Gcn, nn::Relu, nn::graph::Gcn>;
    Network<Net> net(Net(nn::graph::Gcn{2, 4}, nn::Relu{}, nn::graph::Gcn{4, 2}), 1);
    NodeClassifier<Net> method{teacher::None{}, net};
    const Report report = fit(method, d, optim::Adam{.lr = 0.05f}, {.epochs = 200, .seed = 1});
    CHECK(report.final_loss() < (edges ? 0.9 : 0.5) * report.epochs.front().loss);
    const auto few = d.nodes(d.train);
    CHECK(predict_logits(net, few, cpu).shape() == Shape{2, 2});
    CHECK(predict_logits(net, d, cpu).shape() == Shape{5, 2});
  }
  // A graph layer on data without a graph says so.
  using Net = nn::Sequential<nn::graph::Gcn>;
  Network<Net> net(Net(nn::graph::Gcn{2, 2}), 1);
  LabelsOnly<Net> method{teacher::None{}, net};
  Dataset<2> table{Tensor<float, 2>(Shape{4, 2}), {0, 1, 0, 1}, 2, "table"};
  CHECK_THROWS_WITH_AS(fit(method, table, optim::Sgd{}), "nn::graph::Gcn: the batch has no graph; train on a NodeDataset or a GraphDataset", value_error);
}

TEST_CASE("similarity graph: the rule, on points of a line") {
  Tensor<float, 2> x(Shape{4, 1});
  x(0, 0) = 0, x(1, 0) = 1, x(2, 0) = 3, x(3, 0) = 100;
  // Row 0: largest similarity 1/2; 1/(1+3) is not above 0.6 / 2. Row 2: largest 1/3 (to 1); 1/4 to 0 is above 0.2.
  const graph::Adjacency a(4, graph::similarity_edges(x.view(), 0.6));
  CHECK(a.hears(0, 1));
  CHECK(a.hears(0, 2));
  CHECK(a.hears(1, 2));
  CHECK(a.hears(3, 2));
  CHECK(a.undirected_edges() == 6);  // the far point's neighbours are all alike
  CHECK_THROWS_AS(graph::similarity_edges(x.view(), 1.0), value_error);
}

TEST_CASE("graph files: what may be missing loads, what is malformed is named") {
  const test::ScratchFolder scratch;
  const auto at = [&](const std::string& name) { return scratch.file(name); };
  write(at("nodes.tsv"), "0\ttrain\t1\t0 3\n1\t-\t-\n2\n3\ttest\t0\t2\n");
  write(at("edges.txt"), "0 1\n2\t3\n");
  const auto d = data::load_citation(at("nodes.tsv"), at("edges.txt"));
  CHECK(d.labels == std::vector<std::int32_t>{1, -1, -1, 0});
  CHECK(d.inputs.shape() == Shape{4, 4});
  CHECK(d.inputs(0, 3) == 1);
  CHECK(d.adjacency.undirected_edges() == 2);
  CHECK(d.train == std::vector<index_t>{0});
  write(at("bad_edges.txt"), "0 1\n2 4\n");
  CHECK_THROWS_WITH_AS(data::load_citation(at("nodes.tsv"), at("bad_edges.txt")), (at("bad_edges.txt") + ", line 2: node 4 does not exist, expected 0 to 3").c_str(), data_error);
  write(at("bad_nodes.tsv"), "0\ttrain\t1\t0\n2\ttrain\t0\t1\n");
  CHECK_THROWS_WITH_AS(data::load_citation(at("bad_nodes.tsv"), at("edges.txt")), (at("bad_nodes.tsv") + ", line 2: expected node 1, found 2; nodes are numbered in order").c_str(), data_error);

  write(at("table.csv"), "y,s,a,b\n1,Male,2,x\n-1,Female,3,y\n");
  const auto t = data::load_node_table(at("table.csv"), {.label = "y", .sensitive = "s", .sensitive_one = "Female", .drop = {"b"}});
  CHECK(t.labels == std::vector<std::int32_t>{1, 0});
  CHECK(t.sensitive == std::vector<std::int32_t>{0, 1});
  CHECK(t.inputs.shape() == Shape{2, 2});
  CHECK(t.inputs(1, 0) == 1);
  CHECK_THROWS_WITH_AS(data::load_node_table(at("table.csv"), {.label = "z", .sensitive = {}}), (at("table.csv") + ", line 1: no column is named 'z'").c_str(), data_error);
  CHECK_THROWS_AS(data::load_node_table(at("table.csv"), {.label = "y", .sensitive = "s"}), data_error);  // x is no number

  write(at("T_A.txt"), "1, 2\n2, 1\n3, 4\n4, 3\n");
  write(at("T_graph_indicator.txt"), "1\n1\n2\n2\n2\n");
  write(at("T_graph_labels.txt"), "1\n-1\n");
  write(at("T_node_labels.txt"), "0\n2\n0\n0\n2\n");
  const auto tu = data::load_tu(scratch.path(), "T");
  CHECK(tu.all.labels == std::vector<std::int32_t>{1, 0});
  CHECK(tu.store->inputs.shape() == Shape{5, 2});
  CHECK(tu.store->adjacency.undirected_edges() == 2);
  write(at("T_node_labels.txt"), "0\n2\n0\n0\n");
  CHECK_THROWS_WITH_AS(data::load_tu(scratch.path(), "T"),
                       (at("T_node_labels.txt") + " has 4 lines, " + at("T_graph_indicator.txt") + " has 5").c_str(), data_error);
  write(at("T_node_labels.txt"), "0\n2\n0\n0\n2\n");
  write(at("T_graph_labels.txt"), "1\n");
  CHECK_THROWS_AS(data::load_tu(scratch.path(), "T"), data_error);
  write(at("T_graph_labels.txt"), "1\n-1\n");
  write(at("T_A.txt"), "2, 3\n3, 2\n");
  CHECK_THROWS_AS(data::load_tu(scratch.path(), "T"), value_error);  // an edge between two graphs
}

TEST_CASE("batches of graphs: side by side, in a shuffled order, the same answers as one by one") {
  const test::ScratchFolder scratch;
  const auto at = [&](const std::string& name) { return scratch.file(name); };
  write(at("T_A.txt"), "1, 2\n2, 1\n3, 4\n4, 3\n4, 5\n5, 4\n6, 7\n7, 6\n");
  write(at("T_graph_indicator.txt"), "1\n1\n2\n2\n2\n3\n3\n4\n");
  write(at("T_graph_labels.txt"), "0\n1\n1\n0\n");
  write(at("T_node_labels.txt"), "0\n2\n0\n0\n2\n1\n1\n2\n");
  const auto tu = data::load_tu(scratch.path(), "T");
  using Net = nn::Sequential<nn::graph::Gcn, nn::Relu, nn::graph::Pool, nn::Linear>;
  Network<Net> net(Net(nn::graph::Gcn{3, 8}, nn::Relu{}, nn::graph::Pool{nn::graph::PoolKind::sum}, nn::Linear{8, 2}), 3);
  Cpu cpu;
  const auto all = predict_logits(net, tu.all, cpu);
  REQUIRE(all.shape() == Shape{4, 2});
  for (index_t g = 0; g < 4; ++g) {
    const index_t one[] = {g};
    const auto own = predict_logits(net, tu.all.subset(one), cpu);
    for (index_t c = 0; c < 2; ++c) CHECK(own(0, c) == doctest::Approx(all(g, c)).epsilon(1e-6));
  }
  LabelsOnly<Net> method{teacher::None{}, net};  // the ordinary loss: every graph has its label
  const Report report = fit(method, tu.all, optim::Adam{.lr = 0.05f}, {.epochs = 60, .batch_size = 3, .seed = 1});
  CHECK(report.final_loss() < 0.3 * report.epochs.front().loss);
  const auto folds = tu.all.folds(2, 1);
  CHECK(folds[0].size() == 2);
}

TEST_SUITE("needs-graphs") {
  TEST_CASE("the sets of the specification") {
    const std::string folder = test::real_data("graphs", "cora/cora.nodes.tsv", citation_home);
    if (folder.empty()) return;
    const auto cora = data::load_citation(folder + "/cora/cora.nodes.tsv", folder + "/cora/cora.edges.txt", 1433);
    CHECK(cora.size() == 2708);
    CHECK(cora.adjacency.undirected_edges() == 5278);
    CHECK(graph::homophily(cora.adjacency, cora.labels) == doctest::Approx(0.810).epsilon(0.001));
    CHECK(std::count(cora.inputs.begin(), cora.inputs.end(), 1.f) == 49216);
    CHECK(cora.train.size() == 140);
    CHECK(cora.val.size() == 500);
    CHECK(cora.test.size() == 1000);

    const std::string german_csv = test::real_data("graphs", "german/german.csv", fair_home);
    if (german_csv.empty()) return;
    auto german = data::load_node_table(folder + "/german/german.csv", {.label = "GoodCustomer", .sensitive = "Gender", .sensitive_one = "Female", .drop = {"PurposeOfLoan", "OtherLoansAtStore"}});
    german.adjacency = graph::Adjacency(german.size(), data::read_edges(folder + "/german/german_edges.int.txt", german.size()));
    CHECK(german.adjacency.undirected_edges() == 21742);
    CHECK(std::count(german.labels.begin(), german.labels.end(), 1) == 700);
    CHECK(std::count(german.sensitive.begin(), german.sensitive.end(), 1) == 310);
    CHECK(graph::homophily(german.adjacency, german.labels) == doctest::Approx(0.587).epsilon(0.001));
    CHECK(graph::homophily(german.adjacency, german.sensitive) == doctest::Approx(0.805).epsilon(0.001));

    if (test::real_data("graphs", "PROTEINS/PROTEINS_A.txt", tu_home).empty()) return;
    const auto proteins = data::load_tu(folder + "/PROTEINS", "PROTEINS");
    CHECK(proteins.all.size() == 1113);
    CHECK(proteins.store->inputs.shape() == Shape{43471, 4});
    CHECK(proteins.store->adjacency.undirected_edges() == 81044);
    const auto mutag = data::load_tu(folder + "/MUTAG", "MUTAG");
    CHECK(mutag.store->adjacency.undirected_edges() == 3721);
    CHECK(std::count(mutag.all.labels.begin(), mutag.all.labels.end(), 1) == 125);
  }
  TEST_CASE("Bail's graph, rebuilt from its raw columns") {
    const std::string folder = test::real_data("graphs", "bail/bail.csv", fair_home);
    if (folder.empty()) return;
    auto bail = data::load_node_table(folder + "/bail/bail.csv", {.label = "RECID", .sensitive = "WHITE"});
    CHECK(bail.inputs.shape() == Shape{18876, 18});
    bail.adjacency = graph::Adjacency(bail.size(), graph::similarity_edges(bail.inputs.view(), 0.6));
    CHECK(bail.adjacency.undirected_edges() == 311870);
    CHECK(bail.adjacency.with_loops().entries() == 642616);
    CHECK(graph::homophily(bail.adjacency, bail.labels) == doctest::Approx(0.775).epsilon(0.001));
    CHECK(graph::homophily(bail.adjacency, bail.sensitive) == doctest::Approx(0.522).epsilon(0.001));
    const graph::Adjacency given(bail.size(), data::read_edges(folder + "/bail/bail_edges.txt", bail.size()));
    CHECK(given.entries() == bail.adjacency.entries());
  }
}
