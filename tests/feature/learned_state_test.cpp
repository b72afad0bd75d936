// Losses with parameters of their own in a whole method: they learn, resume byte for byte, roll back, allocate nothing.
#include <doctest/doctest.h>

#include <filesystem>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/contrastive.hpp>
#include <retort/loss/curriculum.hpp>
#include <retort/loss/reuse.hpp>
#include <retort/loss/review.hpp>
#include <retort/method/hinton.hpp>
#include <retort/train/callbacks.hpp>
#include <retort/train/fit.hpp>

#include "count_allocations.hpp"
#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;

namespace {

struct stage1;
struct stage2;
struct pooled;
struct head;

auto architecture(index_t c) {
  using namespace nn;
  return sequential(Conv2d{2, c}, Reveal<stage1, BatchNorm>{BatchNorm{c}}, Relu{}, MaxPool{2}, Conv2d{c, 2 * c}, Reveal<stage2, BatchNorm>{BatchNorm{2 * c}},
                    Relu{}, GlobalAveragePool{}, Tap<pooled>{}, Reveal<head, Linear>{Linear{2 * c, 3}});
}
using Net = decltype(architecture(1));

const Dataset<4>& noise() {
  static const Dataset<4> set = [] {
    Dataset<4> d{Tensor<float, 4>(Shape{48, 4, 4, 2}), {}, 3, "noise"};
    Rng rng(5);
    for (index_t i = 0; i < 48; ++i) {
      d.labels.push_back(static_cast<std::int32_t>(i % 3));
      for (index_t k = 0; k < 32; ++k) d.inputs.data()[32 * i + k] = static_cast<float>(rng.normal()) + 0.5f * static_cast<float>(i % 3);
    }
    return d;
  }();
  return set;
}

using Everything =
    loss::Joint<loss::HintonLoss, loss::OnTaps<loss::Hint, stage1, stage1, loss::connect::Regressor>,
                loss::OnTaps<loss::Variational, stage2, stage2, loss::connect::ThreePointwise>,
                loss::OnEachTap<loss::OverhaulFeature, loss::connect::Pointwise<>, stage1, stage2>, loss::WarmUp<loss::KnowledgeReview<stage1, stage2, pooled>>,
                loss::Contrastive<pooled>, loss::RegressionRepresentation<stage2, head>, loss::ParaphrasedFactors<stage2>,
                loss::CurriculumTemperature<loss::SoftTargets>>;
Everything everything() {
  return Everything{{}, {.weight = 1}, {}, {.weight = 1e-3, .decay = 0.5}, {}, {.negatives = 16, .width = 8}, {}, {.weight = 1, .pretraining = 1}, {.epochs = 0}};
}

template <class Loss>
struct Run {
  Network<Net> teacher{architecture(6), 1}, student{architecture(4), 2};
  typename Hinton<Net, Net>::template with_loss<Loss> method;
  explicit Run(Loss loss) : method{teacher, student, std::move(loss)} {}
  template <class... C>
  Report fit(int epochs, const std::string& resume, C&&... each) {
    return retort::fit(method, noise(), optim::Sgd{.lr = 0.02f, .momentum = 0.9f, .clip = {.norm = 1}}, {.epochs = epochs, .batch_size = 16, .seed = 3, .resume = resume}, each...);
  }
  std::vector<float> bytes() {
    std::vector<float> out;
    for (auto& [name, view] : student.tensors()) out.insert(out.end(), view.begin(), view.end());
    for (auto& [name, view] : nn::tensors_of<float>(*method.loss_state())) out.insert(out.end(), view.begin(), view.end());
    return out;
  }
};

template <class F>
struct AtBegin {
  F f;
  template <class S>
  void on_train_begin(S& session) { f(session); }
};
template <class F>
struct AtStep {
  F f;
  template <class S>
  void on_step(S& session) { f(session); }
};
template <class F>
struct AtEpochEnd {
  F f;
  template <class S>
  void on_epoch_end(S& session) { f(session); }
};
template <class F>
AtBegin(F) -> AtBegin<F>;
template <class F>
AtStep(F) -> AtStep<F>;
template <class F>
AtEpochEnd(F) -> AtEpochEnd<F>;

struct StopAfter {
  int epochs;
  template <class S>
  bool on_epoch_end(S& session) {
    return session.progress().epoch + 1 >= epochs;
  }
};

}  // namespace

TEST_CASE("every loss with state trains with the student, and its own parameters move") {
  Run<Everything> run(everything());
  std::vector<float> before;
  const Report report = run.fit(3, "", AtBegin{[&](auto&) { before = run.bytes(); }});
  CHECK(report.epochs[2].loss < report.epochs[1].loss);
  const auto after = run.bytes();
  REQUIRE(after.size() == before.size());
  std::size_t at = 0, moved = 0, all = 0;
  for (auto& [name, view] : nn::tensors_of<float>(*run.method.loss_state())) (void)name, all += static_cast<std::size_t>(view.size());
  at = after.size() - all;
  for (auto& entry : nn::tensors_of<float>(*run.method.loss_state())) {
    const std::string name = entry.first;  // clang 14 captures no structured binding
    const auto view = entry.second;
    bool any = false;
    for (index_t i = 0; i < view.size(); ++i) any |= before[at + static_cast<std::size_t>(i)] != after[at + static_cast<std::size_t>(i)];
    CAPTURE(name);
    CHECK(any);
    moved += any;
    at += static_cast<std::size_t>(view.size());
  }
  CHECK(moved > 50);  // tensors
}

TEST_CASE("killed and resumed equals uninterrupted, byte for byte, with the losses' parameters, banks and normalisers") {
  const test::ScratchFolder folder;
  const std::string path = folder.file("run.ckpt");
  Run<Everything> whole(everything()), first(everything()), second(everything());
  whole.fit(4, "");
  first.fit(4, "", callbacks::Checkpoint(path), StopAfter{2});
  second.fit(4, path);
  CHECK(whole.bytes() == second.bytes());
  CHECK(whole.bytes() != first.bytes());
}

TEST_CASE("a fit that throws leaves student and loss state as they were") {
  Run<Everything> run(everything());
  run.fit(1, "");
  const auto before = run.bytes();
  AtStep fail{[](auto& session) { require<value_error>(session.progress().step < 2, "stop"); }};
  CHECK_THROWS_AS(run.fit(2, "", fail), value_error);
  CHECK(run.bytes() == before);
}

TEST_CASE("steps allocate nothing after the first epoch, with every loss that has state") {
  Run<Everything> run(everything());
  std::vector<long> seen;
  seen.reserve(16);
  run.fit(3, "", AtStep{[&](auto&) { seen.push_back(allocations.load()); }});
  REQUIRE(seen.size() == 9);
  CHECK(seen[8] - seen[7] == 0);
  CHECK(seen[7] - seen[6] == 0);
}

TEST_CASE("a method in double carries the same loss: no backend in its type") {
  Network<Net, Double<Cpu>> teacher(architecture(6), 1), student(architecture(4), 2);
  Hinton<Net, Net, Double<Cpu>>::with_loss<Everything> method{teacher, student, everything()};
  Run<Everything> single(everything());
  const double loss = fit(method, noise(), optim::Sgd{.lr = 0.02f, .momentum = 0.9f, .clip = {.norm = 1}}, {.epochs = 1, .batch_size = 16, .seed = 3}).epochs[0].loss;
  CHECK(loss == doctest::Approx(single.fit(1, "").epochs[0].loss).epsilon(1e-3));
}

TEST_CASE("CTKD: theta rises against the loss once the reversal is on, and the temperature stays in its interval") {
  using Ctkd = loss::CurriculumTemperature<loss::SoftTargets>;
  CHECK(Ctkd{}.reversal(0) == 0);
  CHECK(Ctkd{}.reversal(5) == doctest::Approx(-0.5));
  CHECK(Ctkd{}.reversal(10) == -1);
  Run<Ctkd> still(Ctkd{.epochs = 10}), reversed(Ctkd{.epochs = 0});
  still.fit(1, "");
  CHECK(still.method.loss_state()->theta.value(0) == 1);  // lambda is 0 in the first epoch
  reversed.fit(1, "");
  CHECK(reversed.method.loss_state()->theta.value(0) != 1);
}

TEST_CASE("CTKD: theta's gradient is lambda times the derivative of the loss") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto s = test::randn(Shape{3, 5}, 1), t = test::randn(Shape{3, 5}, 2);
  const loss::CurriculumTemperature<loss::SoftTargets> ctkd{.epochs = 0};
  using V = Var<double, 2>;
  Exchange<double, Cpu, V, V, V> exchange{tape, {}, {}, {}, tape.constant(s.view()), tape.constant(t.view())};
  loss::Start<decltype(exchange), Cpu, data::None> start{exchange, 5, 0, {}, Rng(1)};
  auto state = ctkd.make(start);
  const auto value = [&](double theta) {
    state.theta.value(0) = theta;
    return ctkd.evaluate(exchange, state);
  };
  tape.backward(value(0.3));
  const double slope = state.theta.slot.data[0], h = 1e-4;
  CHECK(slope == doctest::Approx(-(value(0.3 + h).value.data[0] - value(0.3 - h).value.data[0]) / (2 * h)).epsilon(1e-6));
}

TEST_CASE("FT: the paraphraser learns first and the student stands still, then the other way round") {
  using Factors = loss::ParaphrasedFactors<stage2>;
  Run<Factors> run(Factors{.pretraining = 2});
  std::vector<std::vector<float>> student, encoder;
  const Report report = run.fit(4, "", AtEpochEnd{[&](auto&) {
    const auto weights = run.student.tensors()[0].second;
    student.emplace_back(weights.begin(), weights.end());
    auto& w = get<0>(run.method.loss_state()->encoder.state.states).weight.value;
    encoder.emplace_back(w.begin(), w.end());
  }});
  CHECK(report.epochs[1].loss < report.epochs[0].loss);
  CHECK(student[0] == student[1]);
  CHECK(encoder[0] != encoder[1]);
  CHECK(student[2] != student[3]);
  CHECK(encoder[2] == encoder[3]);
}

TEST_CASE("FitNets' regressor finds the convolution between two sizes, or says that there is none") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Rng rng(1);
  const loss::connect::Regressor regressor;
  for (index_t to : {4, 5, 8, 16}) {
    auto state = regressor.make<double, Cpu>(Shape<4>{2, 8, 8, 3}, Shape<4>{2, to, to, 5}, rng);
    auto x = test::randn(Shape{2, 8, 8, 3}, 1);
    auto pass = Pass<double, Cpu>::frozen(tape);
    CHECK(regressor.forward(state, pass, tape.constant(x.view())).shape() == Shape{2, to, to, index_t{5}});
  }
  CHECK_THROWS_WITH_AS((regressor.make<double, Cpu>(Shape<4>{2, 8, 8, 3}, Shape<4>{2, 12, 12, 5}, rng)), doctest::Contains("(2, 12, 12, 5)"), shape_error);
}

TEST_CASE("SimKD: a student that ends in the teacher's classifier learns everything but it") {
  using namespace nn;
  const auto student_net = [] {
    return sequential(Conv2d{2, 4}, BatchNorm{4}, Relu{}, MaxPool{2}, Conv2d{4, 12, 1, 1, 0}, BatchNorm{12}, Relu{}, Tap<stage2>{}, GlobalAveragePool{},
                      Fixed<Linear>{Linear{12, 3}});
  };
  const auto teacher_net = [] { return sequential(Conv2d{2, 12}, BatchNorm{12}, Relu{}, MaxPool{2}, Tap<stage2>{}, GlobalAveragePool{}, Linear{12, 3}); };
  Network<decltype(teacher_net())> teacher(teacher_net(), 1);
  Network<decltype(student_net())> student(student_net(), 2);
  const auto from = teacher.tensors(), to = student.tensors();
  for (std::size_t i = 1; i <= 2; ++i) std::copy(from[from.size() - i].second.begin(), from[from.size() - i].second.end(), to[to.size() - i].second.begin());
  const std::vector<float> classifier(to.back().second.begin(), to.back().second.end());
  using SimKd = Hinton<decltype(teacher_net()), decltype(student_net())>::with_loss<loss::OnTaps<loss::Hint, stage2>>;
  SimKd method{teacher, student};
  const Report report = fit(method, noise(), optim::Sgd{.lr = 0.1f}, {.epochs = 20, .batch_size = 16});
  CHECK(report.epochs[19].loss < 0.9 * report.epochs[0].loss);
  CHECK(std::equal(classifier.begin(), classifier.end(), student.tensors().back().second.begin()));
  CHECK(student.parameter_count() == (9 * 2 * 4 + 4) + 8 + (4 * 12 + 12) + 24);
}
