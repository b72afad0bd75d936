// Exact resume after kill -9, and checkpoints that are damaged or belong to another run.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/method/hinton.hpp>
#include <retort/train/callbacks.hpp>
#include <retort/train/fit.hpp>

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
