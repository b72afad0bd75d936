#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/method/reliant.hpp>
#include <retort/train/fit.hpp>
#include <retort/train/keep_best.hpp>

#include "count_allocations.hpp"
#include "graph/two_groups.hpp"

using namespace retort;
namespace gnn = nn::graph;

namespace {

struct embedding;
using Teacher = nn::Sequential<gnn::Gcn, nn::Relu, nn::Tap<embedding>, gnn::Gcn>;
using SgcStudent = nn::Sequential<gnn::Sgc, nn::Relu, gnn::Sgc, nn::Relu, nn::Tap<embedding>, gnn::Sgc>;
using FairCpf = Reliant<Cpf<Teacher, gnn::Plp>>;
using FairAkd = Reliant<GraphAkd<Teacher, SgcStudent, embedding>, fair::EqualOpportunity>;

Teacher teacher_net(index_t features) { return Teacher(gnn::Gcn{features, 8}, nn::Relu{}, {}, gnn::Gcn{8, 2}); }
nn::ProxyColumns<gnn::Plp> plp(index_t features, index_t nodes, float dropout = 0) {
  return {gnn::Plp{.in = features + 2, .classes = 2, .nodes = nodes, .steps = 4, .hidden = 8, .feature_dropout = dropout, .attention_dropout = dropout}, features};
}
template <class Net>
std::vector<float> values(Net& net) {
  std::vector<float> out;
  for (auto& [name, v] : net.tensors())
    if (name != "proxy_mean") out.insert(out.end(), v.begin(), v.end());
  return out;
}
/// Takes the turns of an epoch one by one.
template <class Method>
struct Turns {
  Cpu cpu;
  Tape<float, Cpu> tape{cpu};
  graph::WholeGraph<float> graph;
  Method& method;
  Learner<optim::Adam, float, Cpu> learner;
  Turns(Method& m, const NodeDataset& data) : graph(data), method(m), learner(prepared(m, data, cpu)) { learner.zero_grad(); }
  static Learner<optim::Adam, float, Cpu> prepared(Method& m, const NodeDataset& data, Cpu& cpu) {
    m.prepare(Setup<Cpu>{cpu, 2, data.size(), 1, 3}, data);
    return {optim::Adam{.lr = 0.01f}, m.parameters()};
  }
  double operator()(Block block) {
    auto batch = graph.batch();
    Progress progress;
    progress.epochs = 1;
    return method.take_turn(block, tape, learner, batch, progress, Rng(7));
  }
};

}  // namespace

TEST_CASE("RELIANT: each turn moves its own parameters; the opponent's step does not lower J; the mean follows P") {
  const NodeDataset data = test::two_groups(60, 1);
  const index_t f = data.inputs.extent(1);
  Network<Teacher> teacher(teacher_net(f), 1);
  Network<nn::ProxyColumns<gnn::Plp>> student(plp(f, data.size()), 2);
  FairCpf method{teacher, student, FairCpf::loss(loss::CpfKnowledge{}, {.alpha = 10})};
  Turns turns(method, data);
  const auto proxy = [&] { return std::vector<float>(method.student_policy().proxy().begin(), method.student_policy().proxy().end()); };
  const auto mean = [&] {
    double sum = 0;
    for (index_t i = 0; i < data.size(); ++i) sum += method.student_policy().proxy()(i, 0);
    return sum / static_cast<double>(data.size());
  };
  const auto buffer = [&] { return student.tensors()[0].second.data[0]; };
  REQUIRE(student.tensors()[0].first == "proxy_mean");

  const auto p0 = proxy();
  for (const float p : p0) CHECK((p >= 0 && p < 1));
  const auto s0 = values(student);
  turns(Block::student);
  CHECK(proxy() == p0);
  CHECK(values(student) != s0);
  const auto s1 = values(student);
  CHECK(buffer() == doctest::Approx(mean()));
  const double before = turns(Block::player);  // -alpha J before the step
  CHECK(values(student) == s1);
  CHECK(proxy() != p0);
  CHECK(buffer() == doctest::Approx(mean()));
  const double after = turns(Block::player);
  CHECK(after <= before);
  // Steps after the first of their kind ask the system for nothing.
  turns(Block::student);
  const long so_far = allocations.load();
  turns(Block::student);
  turns(Block::player);
  CHECK(allocations.load() == so_far);
}

TEST_CASE("batches of graphs: memory for the largest batch, asked for once") {
  GraphDataset::Store store;
  std::vector<graph::Edge> edges;
  std::int32_t at = 0;
  store.ptr.push_back(0);
  for (std::int32_t size = 1; size <= 9; ++size) {
    for (std::int32_t k = 1; k < size; ++k) edges.push_back({at, at + k});
    at += size;
    store.ptr.push_back(at);
  }
  store.inputs = Tensor<float, 2>(Shape{index_t{at}, index_t{3}});
  store.adjacency = graph::Adjacency(at, edges);
  GraphDataset data{&store, {0, 1, 2, 3, 4, 5, 6, 7, 8}, {0, 1, 0, 1, 0, 1, 0, 1, 0}, 2, "stars"};
  data.validate();
  graph::SideBySide<float> batches(data, 3);
  const index_t small[] = {0, 1, 2}, large[] = {8, 6, 7};
  batches.batch(small);
  const long so_far = allocations.load();
  CHECK(batches.batch(large).inputs.extent(0) == 24);
  CHECK(batches.batch(small).inputs.extent(0) == 6);
  CHECK(allocations.load() == so_far);
}

TEST_CASE("RELIANT: with the tiled mean the answers do not depend on the order of P's rows; PLP keeps the labels it knows") {
  const NodeDataset data = test::two_groups(40, 2);
  const index_t f = data.inputs.extent(1);
  Network<nn::ProxyColumns<gnn::Plp>> student(plp(f, data.size()), 2);
  Cpu cpu;
  student.tensors()[0].second.data[0] = 0.25f, student.tensors()[0].second.data[1] = 0.75f;
  const auto tiled = predict_logits(student, data, cpu);
  for (const index_t i : data.train)
    for (index_t c = 0; c < 2; ++c) CHECK(tiled(i, c) == (data.labels[static_cast<std::size_t>(i)] == c ? 1 : 0));
  // The mean of any two proxies that are permutations of each other is the same, and nothing else of P reaches the answer.
  graph::WholeGraph<float> graph(data);
  auto batch = graph.batch();
  Tape<float, Cpu> tape(cpu);
  auto pass = Pass<float, Cpu>::frozen(tape);
  pass.graph = batch.graph;
  Tensor<float, 2> wide(Shape{data.size(), f + 2});
  for (index_t i = 0; i < data.size(); ++i) {
    for (index_t c = 0; c < f; ++c) wide(i, c) = data.inputs(i, c);
    wide(i, f) = 0.25f, wide(i, f + 1) = 0.75f;
  }
  const auto own = student.forward(pass, tape.constant(View<const float, 2>(wide.view())));
  for (index_t i = 0; i < tiled.size(); ++i) CHECK(own.value.data[i] == tiled.data()[i]);
  Tensor<float, 2> narrow(Shape{data.size(), f - 1});
  CHECK_THROWS_AS(student.forward(pass, tape.constant(View<const float, 2>(narrow.view()))), shape_error);
}

TEST_CASE("RELIANT on CPF and GraphAKD: a whole fit is finite, reproducible, and answers without the method") {
  const NodeDataset data = test::two_groups(80, 3);
  const index_t f = data.inputs.extent(1);
  Network<Teacher> teacher(teacher_net(f), 1);
  Cpu cpu;
  const auto cpf = [&](nn::ProxyPlace place, bool dropout = false) {
    auto net = plp(f, data.size(), 0.3f);
    net.place = place;
    if (place == nn::ProxyPlace::replace) net.net.in = f;
    Network<nn::ProxyColumns<gnn::Plp>> student(net, 2);
    FairCpf method{teacher, FairCpf::student(student, {.dropout = dropout}), FairCpf::loss(Faithful::cpf, {.alpha = 10})};
    const auto val = data.nodes(data.val);
    const auto size = [](const char* name) {
      return [name](View<const float, 2> logits, EpochRecord& record) { record.metrics.emplace_back(name, std::accumulate(logits.begin(), logits.end(), 0.)); };
    };
    const Report report = fit(method, data, optim::Adam{.lr = 0.01f}, {.epochs = 5, .seed = 1}, callbacks::OnNodes(data, node_accuracy(val, "val")),
                              callbacks::OnNodes(data, size("quiet")), callbacks::OnNodes(data, size("noisy"), 1, true));
    CHECK(report.final_metric("val") == metrics::accuracy(predict_logits(student, val, cpu), val.label_view()));
    for (const auto& epoch : report.epochs) CHECK(epoch.metric("quiet") != epoch.metric("noisy"));  // with dropout the answers are others
    return predict_logits(student, data, cpu);
  };
  const auto a = cpf(nn::ProxyPlace::append), b = cpf(nn::ProxyPlace::append), c = cpf(nn::ProxyPlace::replace);
  CHECK(std::equal(a.begin(), a.end(), b.begin()));
  CHECK_FALSE(std::equal(a.begin(), a.end(), c.begin()));
  const auto with_dropout = cpf(nn::ProxyPlace::append, true), once_more = cpf(nn::ProxyPlace::append, true);
  CHECK_FALSE(std::equal(a.begin(), a.end(), with_dropout.begin()));
  CHECK(std::equal(with_dropout.begin(), with_dropout.end(), once_more.begin()));

  const auto akd = [&] {
    Network<nn::ProxyColumns<SgcStudent>> student({SgcStudent(gnn::Sgc{f + 2, 8, 1}, nn::Relu{}, gnn::Sgc{8, 8, 1}, nn::Relu{}, {}, gnn::Sgc{8, 2, 1}), f}, 2);
    FairAkd method{teacher, student, FairAkd::loss(loss::GraphAkdKnowledge{}, {.alpha = 10}), FairAkd::censor({.width = 8})};
    const Report report = fit(method, data, optim::Adam{.lr = 0.01f}, {.epochs = 5, .seed = 1});
    CHECK(std::isfinite(report.final_loss()));
    return predict_logits(student, data, cpu);
  };
  const auto d = akd(), e = akd();
  CHECK(std::equal(d.begin(), d.end(), e.begin()));
  // Embeddings of another width than the discriminators' are named.
  Network<nn::ProxyColumns<SgcStudent>> student({SgcStudent(gnn::Sgc{f + 2, 8, 1}, nn::Relu{}, gnn::Sgc{8, 4, 1}, nn::Relu{}, {}, gnn::Sgc{4, 2, 1}), f}, 2);
  FairAkd method{teacher, student, FairAkd::loss(loss::GraphAkdKnowledge{}, {.alpha = 10}), FairAkd::censor({.width = 8})};
  CHECK_THROWS_AS(fit(method, data, optim::Adam{.lr = 0.01f}, {.epochs = 1, .seed = 1}), shape_error);
}
