// Networks that teach themselves: deep mutual learning and BYOT.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/peers.hpp>
#include <retort/method/hinton.hpp>
#include <retort/train/callbacks.hpp>
#include <retort/train/fit.hpp>

#include "loss/row_loss_fixture.hpp"
#include "toy_data.hpp"

using namespace retort;
using namespace retort::test;

namespace {
struct shallow;
struct shallow_feature;
struct deep_feature;

auto mlp(index_t width) { return nn::sequential(nn::Linear{6, width}, nn::Relu{}, nn::Linear{width, 4}); }
using Two = nn::Cohort<decltype(mlp(1)), decltype(mlp(1))>;
using Mutual = LabelsOnly<Two>::with_loss<loss::MutualLearning<nn::member<0>, nn::member<1>>>;
}  // namespace

TEST_CASE("DML by definition: each peer's cross-entropy and the divergence from the other, which stands still") {
  Problem<double> a(5, 4, 1), b(5, 4, 2);
  b.labels = a.labels;
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto logits = [&](Problem<double>& p) { return tape.leaf(View<const double, 2>{p.student.data(), {5, 4}}); };
  const auto za = logits(a), zb = logits(b);
  using V = Var<double, 2>;
  using Both = Output<V, Tapped<nn::member<0>, V>, Tapped<nn::member<1>, V>>;
  Exchange<double, Cpu, V, Both, V> exchange{tape, za, {a.labels.data(), {5}}, {}, Both{za, {{za}, {zb}}}, {}};
  const auto value = loss::MutualLearning<nn::member<0>, nn::member<1>>{}.evaluate(exchange);
  tape.backward(value);
  a.teacher = b.student, b.teacher = a.student;
  const loss::Sum one{loss::CrossEntropy<BatchMean>{}, loss::SoftTargets{.temperature = 1}};
  CHECK(value.value.data[0] == doctest::Approx(a.evaluate(one) + b.evaluate(one)));
  for (index_t i = 0; i < 20; ++i) {
    CHECK(tape.gradient(za).data[i] == doctest::Approx(a.d_student[static_cast<std::size_t>(i)]));
    CHECK(tape.gradient(zb).data[i] == doctest::Approx(b.d_student[static_cast<std::size_t>(i)]));
  }
}

TEST_CASE("DML trains two peers through the usual loop; its result answers as the first one") {
  const auto data = ::test::blobs(200, 6, 4, 1);
  Network<Two> peers(Two(mlp(8), mlp(12)), 1);
  Mutual method{teacher::None{}, peers};
  const Report report = fit(method, data, optim::Sgd{.lr = 0.1f}, {.epochs = 10}, callbacks::Accuracy{data});
  CHECK(report.final_metric("accuracy") > 0.8);
  CHECK(peers.parameter_count() == (6 * 8 + 8 + 8 * 4 + 4) + (6 * 12 + 12 + 12 * 4 + 4));
}

TEST_CASE("BYOT: shallow classifiers learn from the deepest, which learns from labels alone") {
  using namespace nn;
  const auto net = [] {
    return sequential(Linear{6, 16}, Relu{}, Tap<shallow_feature>{}, Branch<shallow, Linear>{Linear{16, 4}}, Linear{16, 16}, Relu{}, Tap<deep_feature>{}, Linear{16, 4});
  };
  using Net = decltype(net());
  using Byot = LabelsOnly<Net>::with_loss<loss::OwnTeacher<loss::TagList<shallow>, loss::TagList<shallow_feature, deep_feature>>>;
  const auto data = ::test::blobs(200, 6, 4, 1);
  Network<Net> student(net(), 1);
  Byot method{teacher::None{}, student};
  const Report report = fit(method, data, optim::Sgd{.lr = 0.1f}, {.epochs = 10}, callbacks::Accuracy{data});
  CHECK(report.final_metric("accuracy") > 0.8);

  // with all weight on the divergence and none on hints, the branch's gradient is that of soft targets
  Problem<double> p(5, 4, 3), deep(5, 4, 4);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  using V = Var<double, 2>;
  const auto z = tape.leaf(View<const double, 2>{deep.student.data(), {5, 4}}), low = tape.leaf(View<const double, 2>{p.student.data(), {5, 4}});
  using Out = Output<V, Tapped<shallow, V>>;
  Exchange<double, Cpu, V, Out, V> exchange{tape, z, {p.labels.data(), {5}}, {}, Out{z, {{low}}}, {}};
  const auto value = loss::OwnTeacher<loss::TagList<shallow>>{.alpha = 1}.evaluate(exchange);
  tape.backward(value);
  p.teacher = deep.student;
  deep.labels = p.labels;
  CHECK(value.value.data[0] == doctest::Approx(p.evaluate(loss::SoftTargets{.temperature = 3}) + deep.evaluate(loss::CrossEntropy<BatchMean>{})));
  for (index_t i = 0; i < 20; ++i) {
    CHECK(tape.gradient(low).data[i] == doctest::Approx(p.d_student[static_cast<std::size_t>(i)]));
    CHECK(tape.gradient(z).data[i] == doctest::Approx(deep.d_student[static_cast<std::size_t>(i)]));
  }
}
