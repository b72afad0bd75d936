// Exact resume after kill -9, and checkpoints that are damaged or belong to another run.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <limits>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/logit_distance.hpp>
#include <retort/method/hinton.hpp>
#include <retort/train/callbacks.hpp>
#include <retort/train/fit.hpp>
#include <retort/train/keep_best.hpp>

#include "support.hpp"
#include "toy_data.hpp"

using namespace retort;

namespace {
using Net = nn::Sequential<nn::Linear, nn::BatchNorm, nn::Relu, nn::Dropout, nn::Linear>;
Net net() { return Net(nn::Linear{6, 16}, nn::BatchNorm{16}, nn::Relu{}, nn::Dropout{0.2f}, nn::Linear{16, 3}); }

struct KillAt {  // kill -9 from inside: after `steps` batches
  index_t steps;
  template <class S>
  void on_step(S& session) {
    if (session.progress().step + 1 == steps) ::kill(::getpid(), SIGKILL);
  }
};

struct Run {
  Dataset<2> data = test::blobs(200, 6, 3, 1);
  Network<Net> teacher{net(), 1}, student{net(), 2};

  template <class... C>
  Report operator()(const std::string& path, C&&... more) {
    Hinton<Net, Net> method{teacher, student, {}};
    return fit(method, data,
               optim::Adam{.lr = 0.01f, .weight_decay = 1e-4f, .schedule = {.rule = optim::ReduceOnPlateau{.patience = 1}, .warmup = 1}, .clip = {.norm = 1}},
               {.epochs = 6, .batch_size = 32, .seed = 11, .resume = path}, callbacks::Accuracy{data}, more...,
               callbacks::Checkpoint{path});
  }
  std::vector<float> bytes() {
    std::vector<float> out;
    for (auto& [name, v] : student.tensors()) out.insert(out.end(), v.begin(), v.end());
    return out;
  }
};

std::string temporary(const std::string& name) {
  const auto folder = std::filesystem::temp_directory_path() / ("retort_test_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  return (folder / name).string();
}
void damage(const std::string& path, std::size_t at, char value) {
  std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
  f.seekp(static_cast<std::streamoff>(at));
  f.put(value);
}
}  // namespace

TEST_CASE("killed and resumed equals uninterrupted, byte for byte, at any moment") {
  Run whole;
  const Report expected = whole(temporary("whole"));
  for (index_t kill_at : {1, 7, 8, 20, 40}) {
    const std::string path = temporary("killed" + std::to_string(kill_at));
    const pid_t child = ::fork();
    if (child == 0) {
      Run run;
      run(path, KillAt{kill_at});
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    Run resumed;
    const Report report = resumed(path);
    CHECK(resumed.bytes() == whole.bytes());
    REQUIRE(report.epochs.size() == expected.epochs.size());
    for (std::size_t e = 0; e < report.epochs.size(); ++e) {
      CHECK(report.epochs[e].loss == expected.epochs[e].loss);
      CHECK(report.epochs[e].metrics == expected.epochs[e].metrics);
    }
  }
}

TEST_CASE("a damaged, truncated, oversized or foreign checkpoint is refused and nothing changes") {
  const std::string path = temporary("good");
  {
    Run run;
    run(path);
  }
  Run run;
  const auto before = run.bytes();
  const auto size = std::filesystem::file_size(path);
  const std::string bad = temporary("bad");
  auto refused = [&](auto&& spoil, const char* expected) {
    std::filesystem::copy_file(path, bad, std::filesystem::copy_options::overwrite_existing);
    spoil();
    try {
      run(bad);
      FAIL("expected data_error");
    } catch (const data_error& e) {
      CHECK_MESSAGE(std::string(e.what()).find(expected) != std::string::npos, e.what());
    }
    CHECK(run.bytes() == before);
  };
  refused([&] { damage(bad, size / 2, '\x55'); damage(bad, size / 2 + 1, '\x2a'); }, "checksum");
  refused([&] { std::filesystem::resize_file(bad, size - 5); }, "promises");
  refused([&] { std::filesystem::resize_file(bad, 10); }, "header");
  refused([&] { std::ofstream(bad, std::ios::app) << "more"; }, "promises");
  refused([&] { damage(bad, 0, 'X'); }, "header");

  Network<Net> other_teacher(net(), 1), other(net(), 2);
  Hinton<Net, Net> method{other_teacher, other, {}};
  const auto data = test::blobs(200, 6, 3, 1);
  try {
    fit(method, data, optim::Sgd{}, {.epochs = 6, .batch_size = 32, .seed = 11, .resume = path});
    FAIL("expected checkpoint_error");
  } catch (const checkpoint_error& e) {
    CHECK(std::string(e.what()).find("another run") != std::string::npos);
  }
  std::filesystem::remove(bad);
  CHECK_THROWS_AS(run(bad, callbacks::CsvLog("/nonexistent/folder/log.csv")), data_error);
}

namespace {
struct Recipe {
  loss::HintonLoss loss{};
  optim::Sgd optimizer{.lr = 0.05f};
  int epochs = 4;
};
struct StopAfter {
  int epochs;
  template <class S>
  bool on_epoch_end(S& session) {
    return session.progress().epoch + 1 == epochs;
  }
};
/// What the callbacks of a run are to do; they always stand in this order.
struct Watched {
  std::string save{}, metric = "accuracy";
  int save_every = 1, record_every = 1, stop_after = 0;
  callbacks::EarlyStopping* patience = nullptr;
};
/// Each pack of callbacks is a session of its own to compile: one for all cases.
std::pair<Report, std::vector<float>> train(const Recipe& recipe, const std::string& resume, const Watched& watched) {
  Run run;
  Hinton<Net, Net> method{run.teacher, run.student, recipe.loss};
  callbacks::EarlyStopping none({.patience = 1000});
  const std::string unread = temporary("unread");
  const Report report =
      fit(method, run.data, recipe.optimizer, {.epochs = recipe.epochs, .batch_size = 32, .seed = 3, .resume = resume},
          callbacks::Checkpoint{watched.save.empty() ? unread : watched.save, watched.save_every}, callbacks::Accuracy{run.data, watched.metric, watched.record_every},
          watched.patience ? *watched.patience : none, StopAfter{watched.stop_after});
  return {report, run.bytes()};
}
}  // namespace

TEST_CASE("a checkpoint holds the whole epoch, also what callbacks behind it made of it") {
  const auto stopping = [] { return callbacks::EarlyStopping({.metric = "accuracy", .patience = 2, .min_change = 0.5}); };
  const std::string path = temporary("order");
  auto patience = stopping(), before = stopping(), behind = stopping();
  const auto [whole, weights] = train({.epochs = 9}, "", {.patience = &patience});
  REQUIRE(whole.epochs.size() == 3);
  REQUIRE(whole.stopped_early);
  // interrupted behind the second epoch, one of patience gone; then over at the third, and again for whoever asks
  train({.epochs = 9}, path, {.save = path, .stop_after = 2, .patience = &before});
  for (int again = 0; again < 2; ++again) {
    const auto [resumed, same] = train({.epochs = 9}, path, {.save = path, .patience = &behind});
    REQUIRE(resumed.epochs.size() == 3);
    CHECK(resumed.stopped_early);
    CHECK(resumed.epochs[1].metrics == whole.epochs[1].metrics);  // recorded behind the checkpoint's turn
    CHECK(same == weights);
  }

  const std::string last = temporary("last");
  train({.epochs = 9}, "", {.save = last, .save_every = 5, .stop_after = 3});
  const CheckpointReader reader(last);
  std::uint64_t epoch = 0;
  reader.read("epoch", epoch);
  CHECK(epoch == 3);
}

TEST_CASE("callbacks that serve several runs begin each anew") {
  callbacks::EarlyStopping stopping({.metric = "accuracy", .patience = 2, .min_change = 0.5});
  for (int run = 0; run < 2; ++run) CHECK(train({.epochs = 9}, "", {.patience = &stopping}).first.epochs.size() == 3);
  Run run;
  callbacks::KeepBest best(run.student, "accuracy");
  for (int k = 0; k < 2; ++k) {
    Hinton<Net, Net> method{run.teacher, run.student, {}};
    const Report report = fit(method, run.data, optim::Sgd{.lr = k == 0 ? 0.05f : 0.f}, {.epochs = 2, .batch_size = 32}, callbacks::Accuracy{run.data}, best);
    CHECK(best.best() == std::max(report.epochs[0].metric("accuracy"), report.epochs[1].metric("accuracy")));
  }
  // an epoch without the metric does not count; a metric that nobody records is an error
  CHECK(train({.epochs = 4}, "", {.record_every = 2, .patience = &stopping}).first.epochs.size() == 4);
  CHECK_THROWS_WITH_AS(train({}, "", {.metric = "acuracy", .patience = &stopping}), "EarlyStopping: no callback before it recorded a metric 'accuracy'", value_error);
  CHECK_THROWS_AS(train({}, "", {.record_every = 0}), value_error);
  CHECK_THROWS_AS(train({}, "", {.save_every = 0}), value_error);
}

TEST_CASE("a run resumes only its own recipe: loss, optimiser and schedule too") {
  const std::string path = temporary("recipe");
  const Recipe own{};
  train(own, "", {.save = path});
  CHECK(train(own, path, {}).first.epochs.size() == 4);
  const auto refused = [&](const Recipe& other, const char* says) {
    CHECK_THROWS_WITH_AS(train(other, path, {}), doctest::Contains(says), checkpoint_error);
  };
  refused({.loss = {.soft = {.temperature = 20}}}, "temperature 20");
  refused({.loss = {.hard = {.weight = 0.2}}}, "weight 0.2");
  refused({.optimizer = {.lr = 0.05f, .schedule = {.rule = optim::Cosine{}}}}, "cosine to 0");
  refused({.optimizer = {.lr = 0.05f, .schedule = {.warmup = 2}}}, "warm-up 2");
  refused({.optimizer = {.lr = 0.05f, .clip = {.norm = 1}}}, "clip norm 1");
  CHECK(detail::describe_loss(loss::LogitMse<BatchMean>{}) != detail::describe_loss(loss::LogitL1<BatchMean>{}));  // the type is part of it
  CHECK_THROWS_AS(train(own, std::filesystem::temp_directory_path().string(), {}), data_error);
}

TEST_CASE("numbers that no training survives are refused before it, or found behind the last step") {
  const auto refused = [](const optim::Sgd& optimizer, const char* says) { CHECK_THROWS_WITH_AS(train({.optimizer = optimizer}, "", {}), doctest::Contains(says), value_error); };
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  refused({.lr = std::numeric_limits<float>::infinity()}, "Sgd: expected lr to be finite and at least 0, got inf");
  refused({.momentum = 1}, "momentum in [0, 1), got 1");
  refused({.clip = {.norm = -1}}, "clip.norm");
  refused({.schedule = {.warmup = nan}}, "schedule.warmup");
  refused({.schedule = {.rule = optim::Step{.every = 0}}}, "optim::Schedule: expected every to be finite and above 0, got 0");
  const std::vector<ParameterRef<float>> none;
  CHECK_THROWS_AS((optim::Adam{.epsilon = -1}.make<float, Cpu>(none)), value_error);
  CHECK_THROWS_AS((optim::AdamW{.weight_decay = static_cast<float>(nan)}.make<float, Cpu>(none)), value_error);

  Run run;
  const auto before = run.bytes();
  Hinton<Net, Net> method{run.teacher, run.student, {.soft = {.temperature = 4, .weight = 1e6}}};
  CHECK_THROWS_WITH_AS(fit(method, run.data, optim::Sgd{.lr = 3e38f}, {.epochs = 1, .batch_size = 200}), doctest::Contains("after the last step"), value_error);
  CHECK(run.bytes() == before);
}

TEST_CASE("a network is saved and loaded as a whole, or not at all") {
  const std::string path = temporary("network");
  Run run;
  save_network(run.student, path);
  Network<Net> other(net(), 9);
  load_network(other, path);
  std::vector<float> loaded;
  for (auto& [name, v] : other.tensors()) loaded.insert(loaded.end(), v.begin(), v.end());
  CHECK(loaded == run.bytes());
  Network<Net> wide(Net(nn::Linear{6, 17}, nn::BatchNorm{17}, nn::Relu{}, nn::Dropout{0.2f}, nn::Linear{17, 3}), 9);
  CHECK_THROWS_WITH_AS(load_network(wide, path), doctest::Contains("holds Sequential"), checkpoint_error);
  Network<Net, Double<Cpu>> precise(net(), 9);
  CHECK_THROWS_AS(load_network(precise, path), checkpoint_error);
  std::filesystem::resize_file(path, 40);
  CHECK_THROWS_AS(load_network(other, path), data_error);
}
