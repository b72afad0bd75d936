// Chains of trainings and DOT.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/method/classics.hpp>
#include <retort/train/callbacks.hpp>
#include <retort/train/chains.hpp>

#include "toy_data.hpp"

using namespace retort;

namespace {
using Net = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
Network<Net> net(index_t width, std::uint64_t seed) { return Network<Net>(Net(nn::Linear{6, width}, nn::Relu{}, nn::Linear{width, 4}), seed); }
std::vector<float> weights(Network<Net>& n) {
  std::vector<float> out;
  for (auto& [name, view] : n.tensors()) out.insert(out.end(), view.begin(), view.end());
  return out;
}
using DotMethod = Hinton<Net, student::TwoChannel<Net>>;
}  // namespace

TEST_CASE("DOT without difference is SGD with momentum and weight decay on the sum") {
  const auto data = test::blobs(96, 6, 4, 1);
  auto teacher = net(16, 1), a = net(8, 2), b = net(8, 2);
  const FitOptions options{.epochs = 3, .batch_size = 32, .seed = 5};
  Hinton<Net, Net> plain{teacher, a};
  fit(plain, data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f, .weight_decay = 1e-3f}, options);
  DotMethod dot{teacher, student::TwoChannel<Net>(b, {.momentum = 0.9, .delta = 0, .weight_decay = 1e-3})};
  fit(dot, data, optim::Sgd{.lr = 0.05f}, options);
  const auto x = weights(a), y = weights(b);
  for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(y[i] == doctest::Approx(x[i]).epsilon(1e-4));
}

TEST_CASE("DOT's two velocities follow their formula") {
  // Two steps of a linear student on one batch, the gradients of both parts known from two ordinary methods.
  const auto data = test::blobs(32, 6, 4, 1);
  auto teacher = net(16, 1), student_net = net(8, 2);
  const auto start = weights(student_net);
  const FitOptions one{.epochs = 1, .batch_size = 32, .seed = 5}, two{.epochs = 2, .batch_size = 32, .seed = 5};
  const loss::HintonLoss both{}, task{.soft = {.weight = 0}}, distillation{.hard = {.weight = 0}};
  const auto gradient = [&](const std::vector<float>& at, const loss::HintonLoss& loss) {  // one SGD step of rate 1
    auto n = net(8, 2);
    std::size_t k = 0;
    for (auto& [name, view] : n.tensors())
      for (float& w : view) w = at[k++];
    Hinton<Net, Net> method{teacher, n, loss};
    fit(method, data, optim::Sgd{.lr = 1}, one);
    const auto after = weights(n);
    std::vector<double> g(at.size());
    for (std::size_t i = 0; i < g.size(); ++i) g[i] = static_cast<double>(at[i]) - static_cast<double>(after[i]);
    return g;
  };
  const double lr = 0.01, slow = 0.9 - 0.075, fast = 0.9 + 0.075;
  const auto t1 = gradient(start, task), d1 = gradient(start, distillation);
  std::vector<float> middle(start.size());
  for (std::size_t i = 0; i < start.size(); ++i) middle[i] = static_cast<float>(start[i] - lr * (t1[i] + d1[i]));
  const auto t2 = gradient(middle, task), d2 = gradient(middle, distillation);
  DotMethod dot{teacher, student::TwoChannel<Net>(student_net, {.weight_decay = 0}), both};
  fit(dot, data, optim::Sgd{.lr = static_cast<float>(lr)}, two);
  const auto end = weights(student_net);
  for (std::size_t i = 0; i < end.size(); ++i) {
    const double expected = middle[i] - lr * (slow * t1[i] + t2[i] + fast * d1[i] + d2[i]);
    REQUIRE(std::abs(end[i] - expected) < 1e-6);
  }
}

TEST_CASE("DOT refuses momenta out of range") {
  auto n = net(4, 1);
  CHECK_THROWS_WITH_AS(student::TwoChannel<Net>(n, {.momentum = 0.95, .delta = 0.075}), doctest::Contains("momentum + delta < 1"), value_error);
}

TEST_CASE("teacher assistants: each link learns from the one before") {
  const auto data = test::blobs(240, 6, 4, 1);
  auto teacher = net(32, 1), assistant = net(12, 2), student_net = net(6, 3);
  const optim::Sgd optimizer{.lr = 0.1f, .momentum = 0.9f};
  LabelsOnly<Net> supervised{teacher::None{}, teacher};
  callbacks::Snapshots route(teacher, 2);
  fit(supervised, data, optimizer, {.epochs = 5}, route);
  const auto before = weights(assistant);
  const auto reports = fit_through_assistants(data, optimizer, {.epochs = 5}, {}, teacher, assistant, student_net);
  CHECK(reports.size() == 2);
  CHECK(weights(assistant) != before);
  CHECK(reports[1].epochs.back().loss < reports[1].epochs.front().loss);

  // the route: snapshots after epochs 2, 4 and 5, the last one the teacher itself
  REQUIRE(route.route().size() == 3);
  CHECK(weights(route.route()[2]) == weights(teacher));
  CHECK(weights(route.route()[0]) != weights(teacher));
  auto follower = net(6, 4);
  const auto along = fit_route(route.route(), follower, data, optimizer, {.epochs = 2});
  CHECK(along.size() == 3);
  CHECK(along[2].epochs.back().loss < along[0].epochs.front().loss);
  std::vector<Network<Net>> none;
  CHECK_THROWS_AS(fit_route(none, follower, data, optimizer, {.epochs = 1}), value_error);
}

TEST_CASE("the aliases of classics.hpp are methods that need nothing but two networks") {
  struct map;
  struct vector;
  struct head;
  using namespace nn;
  using Cnn = Sequential<Conv2d, Tap<map>, GlobalAveragePool, Tap<vector>, Reveal<head, Linear>>;
  Network<Cnn> t(Cnn(Conv2d{1, 4}, {}, {}, {}, Reveal<head, Linear>{Linear{4, 3}}), 1), s(Cnn(Conv2d{1, 4}, {}, {}, {}, Reveal<head, Linear>{Linear{4, 3}}), 2);
  const FitNets<Cnn, Cnn, map> fitnets{t, s};
  const AttentionDistillation<Cnn, Cnn, Cpu, map> at{t, s};
  const Dkd<Cnn, Cnn> dkd{t, s};
  const Crd<Cnn, Cnn, vector> crd{t, s};
  const ReviewKd<Cnn, Cnn, Cpu, map, vector> review{t, s};
  const Srrl<Cnn, Cnn, map, head> srrl{t, s};
  const SimKd<Cnn, Cnn, map> simkd{t, s};
  const Ctkd<Cnn, Cnn> ctkd{t, s};
  const Mlld<Cnn, Cnn, data::Pipeline<>, loss::MlldPaper> mlld{t, s, {}, {}, {data::Pipeline<>{}}};
  const retort::Dot<Cnn, Cnn> dot{t, s};
  CHECK(crd.describe() == dkd.describe());  // one method, other losses
  CHECK(dot.describe() != dkd.describe());
  CHECK(mlld.describe().find("two views") != std::string::npos);
}
