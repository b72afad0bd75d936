// The guide in training: who moves when, how often, and that a run can be resumed.
#include <doctest/doctest.h>

#include <filesystem>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/train/callbacks.hpp>

#include "worlds.hpp"

using namespace retort;
using namespace retort::censor;
using test::Mlp;
using test::weights;
using test::World;

namespace {
using Batch = source::Batch<float, 2>;
Batch first_rows(const Dataset<2>& data, index_t n) { return {data.inputs.view().rows(0, n), data.label_view().rows(0, n), {}}; }

/// Counts the turns of both blocks by what they change.
struct Witness {
  template <class S>
  void on_step(S& session) {
    const auto guide = weights(session.method().censor_policy().network()), student = weights(session.method().student_policy().network());
    if (guide != guide_) ++guide_steps;
    if (student != student_) ++student_steps;
    both += !guide_.empty() && guide != guide_ && student != student_;
    guide_ = guide, student_ = student;
  }
  template <class S>
  void on_train_begin(S& session) {
    guide_ = weights(session.method().censor_policy().network()), student_ = weights(session.method().student_policy().network());
  }
  std::vector<double> guide_, student_;
  int guide_steps = 0, student_steps = 0, both = 0;
};
struct StopAt {
  int epoch;
  template <class S>
  bool on_epoch_end(S& s) { return s.progress().epoch + 1 == epoch; }
};
using Scaffold = Disk<Mlp, Mlp, GuideB23>;
Scaffold scaffold(World& world, Alternate phases = {.warmup = 2, .student_passes = 3, .guide_passes = 1}) {
  return {world.teacher, world.student, test::top3(), Scaffold::censor(guide_b23(4, 8, 8), {.phases = phases})};
}
}  // namespace

TEST_CASE("each block's turn leaves the other alone, parameters and batch statistics") {
  World world;
  auto method = scaffold(world);
  fit(method, world.data, optim::Sgd{.lr = 0.05f}, {.epochs = 1});
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  Learner<optim::Sgd, float, Cpu> learner(optim::Sgd{}, world.student.parameters());
  auto& guide = method.censor_policy().network();
  const auto teacher = weights(world.teacher), student = weights(world.student), before = weights(guide);
  method.take_turn(Block::censor, tape, learner, first_rows(world.data, 16), {}, Rng(1));
  CHECK(weights(world.student) == student);
  CHECK(weights(world.teacher) == teacher);
  CHECK(weights(guide) != before);
  const auto moved = weights(guide);
  method.take_turn(Block::student, tape, learner, first_rows(world.data, 16), {}, Rng(1));
  CHECK(weights(guide) == moved);
  CHECK(weights(world.student) != student);
}

TEST_CASE("phases: warm-up first, then k_t student passes and k_g guide passes; or both in one step") {
  World world;
  const int batches = 4;  // 240 samples, 64 at a time
  auto method = scaffold(world);
  Witness witness;
  const Report report = fit(method, world.data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, {.epochs = 3}, witness, callbacks::GuideLog{});
  CHECK(witness.student_steps == 3 * 3 * batches);
  CHECK(witness.guide_steps == (2 + 3 * 1) * batches);
  CHECK(witness.both == 0);
  CHECK(report.epochs.back().loss < report.epochs.front().loss);
  CHECK(report.final_metric("help") > 0);
  CHECK(report.final_metric("help") < 1);
  CHECK(report.final_metric("budget_used") >= 0);
  CHECK(report.final_metric("price") == doctest::Approx(CosinePrice{}.value(2)));
  CHECK(report.final_metric("budget") == doctest::Approx(Budget{}.value(2)));

  using Joined = Hinton<Mlp, Mlp>::with_loss<loss::ScaffoldedSoftTargets>::with_censor<Guide<GuideB23, TeacherLogits, Penalty<>, Together>>;
  Network<Mlp> student(test::mlp(8, 3, 4), 5);
  Joined joined{world.teacher, student, test::top3(), Joined::censor(guide_b23(4, 8, 8))};
  Witness both;
  fit(joined, world.data, optim::Sgd{.lr = 0.05f}, {.epochs = 2}, both);
  CHECK(both.both == 2 * batches);
}

TEST_CASE("the student pays only where it is told to") {
  World world;
  const auto train = [&](bool pays) {
    Network<Mlp> student(test::mlp(8, 3, 4), 5);
    Scaffold method{world.teacher, student, test::top3(), Scaffold::censor(guide_b23(4, 8, 8), {.penalty = {.budget = Budget::constant(0)}, .phases = {.warmup = 1, .student_passes = 1, .guide_passes = 1, .student_pays = pays}})};
    fit(method, world.data, optim::Sgd{.lr = 0.02f}, {.epochs = 1});
    return weights(student);
  };
  CHECK(train(false) == train(false));
  CHECK(train(false) != train(true));
}

TEST_CASE("a dearer budget buys less help; errors get more of it than the rest") {
  const auto help = [](double budget) {
    World world;
    Network<Mlp> student(test::mlp(8, 1, 4), 5);  // one hidden unit for four classes: it must fail somewhere
    Scaffold method{world.teacher, student, test::top3(), Scaffold::censor(guide_b23(4, 16, 16), {.penalty = {.price = {5, 5}, .budget = Budget::constant(budget)}, .phases = {.warmup = 5, .student_passes = 3, .guide_passes = 3}})};
    fit(method, world.data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, {.epochs = 6, .batch_size = 32});
    return method.censor_policy().summary();
  };
  const auto rich = help(5), poor = help(0.1);
  CHECK(rich.help > poor.help);
  CHECK(rich.help_on_errors > 1.2 * rich.help);
}

TEST_CASE("a run saved and resumed ends with the same bytes, guide, dual variable and all") {
  World world;
  const auto path = (std::filesystem::temp_directory_path() / "retort_disk_test.ckpt").string();
  std::filesystem::remove(path);
  using Dual = Hinton<Mlp, Mlp>::with_loss<loss::ScaffoldedSoftTargets>::with_censor<Guide<GuideB23, TeacherLogits, Penalty<TrueLabel, PerError, CommonScale, DualAscent>>>;
  const auto train = [&](int stop, const std::string& file) {
    Network<Mlp> student(test::mlp(8, 3, 4), 5);
    Dual method{world.teacher, student, test::top3(), Dual::censor(guide_b23(4, 8, 8), {.phases = {.warmup = 1, .student_passes = 1, .guide_passes = 2}})};
    if (file.empty())
      fit(method, world.data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, {.epochs = 6});
    else
      fit(method, world.data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, {.epochs = 6, .resume = file}, callbacks::Checkpoint{file}, StopAt{stop});
    auto all = weights(student);
    const auto guide = weights(method.censor_policy().network());
    all.insert(all.end(), guide.begin(), guide.end());
    all.push_back(method.censor_policy().summary().price);
    return all;
  };
  const auto whole = train(0, "");
  train(3, path);
  CHECK(train(0, path) == whole);
  std::filesystem::remove(path);
}

TEST_CASE("bad input: a negative budget, K above the classes, a network of the wrong width") {
  World world;
  CHECK_THROWS_WITH_AS(Scaffold::censor(guide_b23(4), {.penalty = {.budget = Budget::constant(-1)}}), doctest::Contains("must not be below zero"), value_error);
  Scaffold wide{world.teacher, world.student, {}, Scaffold::censor(guide_b23(4))};  // the default: ten classes
  CHECK_THROWS_WITH_AS(fit(wide, world.data, optim::Sgd{}, {.epochs = 1}), doctest::Contains("the top 10 of 4 classes"), value_error);
  Disk<Mlp, Mlp, Mlp> two{world.teacher, world.student, test::top3(), Disk<Mlp, Mlp, Mlp>::censor(test::mlp(4, 4, 2))};
  CHECK_THROWS_WITH_AS(fit(two, world.data, optim::Sgd{}, {.epochs = 1}), doctest::Contains("one number per sample"), shape_error);
}
