#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/local_structure.hpp>
#include <retort/method/bgnn.hpp>
#include <retort/method/roles.hpp>
#include <retort/nn/graph/layers.hpp>
#include <retort/train/keep_best.hpp>

#include "graph/small_graphs.hpp"
#include "graph/two_groups.hpp"
#include "support.hpp"
#include "toy_data.hpp"

using namespace retort;
namespace gnn = nn::graph;
using Tol = test::tolerance<double>;

namespace {
/// A row loss of logits and a temperature.
template <class Loss>
auto tempered(const Loss& loss, Tape<double, Cpu>& tape, Var<double, 2> s, Var<double, 2> t, Var<double, 1> tau) {
  return row_loss(tape, loss, RowLossInputs<double>{.student = s, .teacher = t, .temperatures = tau});
}
using Gcn2 = nn::Sequential<gnn::Gcn, nn::Relu, gnn::Gcn>;
using Sage2 = nn::Sequential<gnn::Sage, nn::Relu, gnn::Sage>;
}  // namespace

TEST_CASE("the two knowledge terms of BGNN: the specification's values") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Tensor<double, 2> teacher(Shape{1, 3}), student(Shape{1, 3});
  Tensor<double, 1> tau(Shape{1});
  teacher(0, 0) = 2, teacher(0, 2) = -1, student(0, 0) = 1, student(0, 1) = 1, student(0, 2) = -1, tau(0) = 2;
  const auto run = [&](const auto& loss, double value, double dtau) {
    tape.reset();
    const auto s = tape.leaf(View<const double, 2>(student.view())), t = tape.constant(View<const double, 2>(teacher.view()));
    const auto at = tape.leaf(View<const double, 1>(tau.view()));
    const auto y = tempered(loss, tape, s, t, at);
    CHECK(tape.item(y) == doctest::Approx(value).epsilon(1e-6));
    tape.backward(y);
    CHECK(tape.gradient(at).data[0] == doctest::Approx(dtau).epsilon(1e-6));
    const double expected[] = {-.1031065, .0955475, .0075590};
    for (int c = 0; c < 3; ++c) CHECK(std::abs(tape.gradient(s).data[c] - expected[c]) < 5.1e-8);
  };
  run(loss::ForwardKl<BatchMean, loss::NoTSquared>{}, .0962799, -.0941088);
  run(loss::SoftCrossEntropy<BatchMean, loss::NoTSquared>{}, 1.0022392, .0817770);
  auto z = test::randn(Shape{4, 5}, 1), w = test::randn(Shape{4, 5}, 2);
  Tensor<double, 1> taus(Shape{4});
  for (index_t i = 0; i < 4; ++i) taus(i) = 1.2 + 0.7 * static_cast<double>(i);
  const auto check = [&](auto loss) {
    CHECK(grad_check(cpu, [&](auto& t, auto s, auto at) { return tempered(loss, t, s, t.constant(View<const double, 2>(w.view())), at); }, z, taus).error < Tol::gradient);
  };
  check(loss::ForwardKl<BatchMean, loss::NoTSquared>{});
  check(loss::SoftCrossEntropy<BatchMean, loss::NoTSquared>{});
}

TEST_CASE("SAMME.R: the specification's factors, mean 1, clamped, errors") {
  // K = 2, p_y = .25: factor .25^-.5 = 2 for the one-hot code, sqrt 3 for the signed one. The other sample is certain.
  Tensor<double, 2> logits(Shape{3, 2});
  logits(0, 0) = std::log(.25), logits(0, 1) = std::log(.75);
  logits(1, 0) = 60;
  const std::int32_t labels[] = {0, 0, ignored_label};
  const auto ratio = [&](const auto& boost) {
    std::vector<float> w(3, 1.f);
    boost.update(std::span<float>(w), View<const double, 2>(logits.view()), labels);
    CHECK(w[2] == 1);
    CHECK(w[0] + w[1] == doctest::Approx(2));
    return static_cast<double>(w[0] / w[1]);
  };
  CHECK(ratio(boost::SammeR<boost::OneHotCode>{}) == doctest::Approx(2));
  // Signed, a certain right answer loses weight too: exp(-(0 - log least) / 2) for the clamped other class.
  CHECK(ratio(boost::SammeR<boost::SignedCode>{}) == doctest::Approx(std::sqrt(3) * std::exp(-std::log(1e-6) / 2)));
  CHECK(ratio(boost::None{}) == 1);
  std::vector<float> w(3, 1.f), few(2, 1.f);
  const std::int32_t none[] = {-100, -100, -100}, high[] = {0, 2, 0};
  const View<const double, 2> z(logits.view());
  CHECK_THROWS_AS(boost::SammeR<>{}.update(std::span<float>(w), z, none), value_error);
  CHECK_THROWS_AS(boost::SammeR<>{}.update(std::span<float>(w), z, high), value_error);
  CHECK_THROWS_AS(boost::SammeR<>{}.update(std::span<float>(few), z, labels), shape_error);
  CHECK(w == std::vector<float>(3, 1.f));  // as they were
  CHECK(boost::weight_evenness(w, labels) == doctest::Approx(1));
}

TEST_CASE("adaptive temperature: between its ends, one teacher answer gives one tau, learned; usable without graphs") {
  using Net = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
  const auto data = test::blobs(90, 6, 3, 1);
  const Net net(nn::Linear{6, 12}, nn::Relu{}, nn::Linear{12, 3});
  using Knowledge = loss::AdaptiveTemperature<>;
  using Method = Hinton<Net, Net>::with_loss<loss::Joint<loss::CrossEntropy<BatchMean>, Knowledge>>;
  Network<Net> teacher(net, 1), student(net, 2);
  LabelsOnly<Net> first{teacher::None{}, teacher};
  fit(first, data, optim::Sgd{.lr = 0.1f}, {.epochs = 5, .seed = 1});
  Method method{teacher, student};
  const Report report = fit(method, data, optim::Adam{.lr = 0.01f}, {.epochs = 12, .seed = 1}, callbacks::TemperatureLog{});
  CHECK(std::abs(report.epochs.front().metric("tau_mean") - 2.5) < std::abs(report.final_metric("tau_mean") - 2.5));  // starts in the middle, then learns
  for (const auto& e : report.epochs) {
    CHECK(e.metric("tau_min") >= 1);
    CHECK(e.metric("tau_max") <= 4);
    CHECK(e.metric("tau_max") > e.metric("tau_min"));
  }
  // A teacher that says the same everywhere: one tau.
  for (auto& [name, v] : teacher.tensors())
    if (name == "2.weight") std::fill(v.begin(), v.end(), 0.f);
  const Report flat = fit(method, data, optim::Adam{.lr = 0.01f}, {.epochs = 3, .seed = 1}, callbacks::TemperatureLog{});
  CHECK(flat.final_metric("tau_max") == doctest::Approx(flat.final_metric("tau_min")).epsilon(1e-6));
}

TEST_CASE("BGNN: a chain of different networks; weights come from the teacher before; reproducible; controls are aliases") {
  const NodeDataset data = test::two_groups(80, 5);
  const Gcn2 gcn(gnn::Gcn{4, 8, 0.3f}, nn::Relu{}, gnn::Gcn{8, 2});
  const Sage2 sage(gnn::Sage{4, 8, 0.3f}, nn::Relu{}, gnn::Sage{8, 2});
  const optim::Adam optimizer{.lr = 0.02f};
  const FitOptions options{.epochs = 30, .seed = 4};
  const auto part = data.nodes(data.val);
  using Method = Bgnn<Gcn2, Sage2>;
  const auto run = [&] {
    Method chain(gcn, sage);
    const auto reports = fit_chain(chain, data, optimizer, options, [&](auto& network, int) {
      return std::tuple{callbacks::OnNodes(data, node_accuracy(part, "val")), callbacks::KeepBest(network, "val")};
    });
    CHECK(reports.size() == 2);
    return chain;
  };
  Method chain = run(), again = run();
  Cpu cpu;
  const auto a = predict_logits(chain.result(), data, cpu), b = predict_logits(again.result(), data, cpu);
  CHECK(std::equal(a.begin(), a.end(), b.begin()));
  CHECK(chain.weights(0) == std::vector<float>(80, 1.f));
  const auto labels = detail::training_labels(data);
  CHECK(boost::weight_evenness(chain.weights(1), labels) < 1);
  const auto teacher = predict_logits(chain.network<0>(), data, cpu);
  std::vector<float> expected(80, 1.f);
  boost::SammeR<>{}.update(std::span<float>(expected), View<const float, 2>(teacher.view()), labels);
  CHECK(chain.weights(1) == expected);
  // From its second link on, with the first as it is: the same chain, and other options share the first.
  fit_chain(again, data, optimizer, options, [&](auto& network, int link) {
    CHECK(link == 1);
    return std::tuple{callbacks::OnNodes(data, node_accuracy(part, "val")), callbacks::KeepBest(network, "val")};
  }, 1);
  const auto from_second = predict_logits(again.result(), data, cpu);
  CHECK(std::equal(a.begin(), a.end(), from_second.begin()));
  CHECK(again.weights(1) == chain.weights(1));
  Method fresh(gcn, sage);
  CHECK_THROWS_AS(fit_chain(fresh, data, optimizer, options, detail::NoLinkCallbacks{}, 1), error);
  CHECK_THROWS_AS(fit_chain(again, data, optimizer, options, detail::NoLinkCallbacks{}, 2), value_error);
  // The control: no weights, no learned temperature.
  SoftTargetChain<Gcn2, Sage2> control(gcn, sage);
  fit_chain(control, data, optimizer, options);
  CHECK(control.weights(1) == control.weights(0));
  // A link that throws leaves the chain as it was.
  auto broken = test::two_groups(80, 5);
  broken.labels[0] = 7;
  CHECK_THROWS_AS(fit_chain(chain, broken, optimizer, options), value_error);
  const auto c = predict_logits(chain.result(), data, cpu);
  CHECK(std::equal(a.begin(), a.end(), c.begin()));
}

TEST_CASE("a chain whose knowledge is in features asks the teacher at each step") {
  struct hidden;
  using TappedGcn = nn::Sequential<gnn::Gcn, nn::Relu, nn::Tap<hidden>, gnn::Gcn>;
  static_assert(nn::has_taps<TappedGcn> && !nn::has_taps<Gcn2>);
  const NodeDataset data = test::two_groups(80, 5);
  const TappedGcn net(gnn::Gcn{4, 8}, nn::Relu{}, {}, gnn::Gcn{8, 2});
  using Knowledge = loss::LocalStructure<hidden>;
  const auto trained = [&](double weight) {
    Chain<Knowledge, boost::None, Cpu, TappedGcn, TappedGcn> chain(std::tuple{net, net}, {.knowledge = {.weight = weight}});
    auto reports = fit_chain(chain, data, optim::Adam{.lr = 0.02f}, {.epochs = 30, .seed = 4});
    Cpu cpu;
    return std::pair{std::move(reports[1]), predict_logits(chain.result(), data, cpu)};
  };
  const auto [report, logits] = trained(2);
  CHECK(report.method.find("frozen") != std::string::npos);
  CHECK(report.method.find("cached") == std::string::npos);
  CHECK(report.final_loss() < report.epochs[0].loss);
  const auto [alone, without] = trained(0);
  CHECK(report.epochs[0].loss > alone.epochs[0].loss);  // the same net and batch: the difference is the divergence
  CHECK(!std::equal(logits.begin(), logits.end(), without.begin()));
}

TEST_CASE("local structure: equal features cost nothing; the gradient") {
  Cpu cpu;
  const test::SmallGraph g(true);
  struct feature;
  using V = Var<double, 2>;
  using O = Output<V, Tapped<feature, V>>;
  auto s = test::randn(Shape{7, 3}, 1), t = test::randn(Shape{7, 5}, 2);
  const auto run = [&](auto& tape, V student, V teacher) {
    Exchange<double, Cpu, V, O, O> e{tape, student, {}, {}, O{student, {{student}}}, O{teacher, {{teacher}}}};
    e.graph = &g.view;
    return loss::LocalStructure<feature>{}.evaluate(e);
  };
  CHECK(grad_check(cpu, [&](auto& tape, auto z) { return run(tape, z, tape.constant(View<const double, 2>(t.view()))); }, s).error < Tol::gradient);
  Tape<double, Cpu> tape(cpu);
  const auto same = tape.constant(View<const double, 2>(s.view()));
  CHECK(std::abs(tape.item(run(tape, same, same))) < Tol::value);
  CHECK(tape.item(run(tape, same, tape.constant(View<const double, 2>(t.view())))) > 0);
}
