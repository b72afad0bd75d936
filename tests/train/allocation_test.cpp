// After the first epoch a training step asks the system for no memory.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/method/hinton.hpp>
#include <retort/train/fit.hpp>

#include "count_allocations.hpp"
#include "toy_data.hpp"

using namespace retort;

namespace {
struct CountSteps {
  long before = 0, worst = 0;
  int steps = 0;
  template <class S>
  void on_step(S& session) {
    const long now = allocations.load();
    if (steps > 0 && session.steps_done() > 1) {  // between two steps of one epoch, the first of all excepted
      worst = std::max(worst, now - before);
    }
    ++steps;
    before = allocations.load();
  }
};
}  // namespace

TEST_CASE("a training step allocates nothing after the first") {
  Dataset<4> data{Tensor<float, 4>(Shape{64, 8, 8, 1}), {}, 3, "images"};
  Rng rng(1);
  for (float& x : data.inputs) x = static_cast<float>(rng.normal());
  for (int i = 0; i < 64; ++i) data.labels.push_back(i % 3);
  const auto net = nn::sequential(nn::Conv2d{1, 8}, nn::BatchNorm{8}, nn::Relu{}, nn::MaxPool{2}, nn::Conv2d{8, 8}, nn::Relu{},
                                  nn::Dropout{0.1f}, nn::GlobalAveragePool{}, nn::Linear{8, 3});
  using Net = std::remove_const_t<decltype(net)>;
  Network<Net> teacher(net, 1), student(net, 2);
  for (int threads : {1, 2}) {
    Hinton<Net, Net> method{teacher, student, {}};
    CountSteps count;
    fit(method, data, optim::Sgd{.lr = 0.01f, .momentum = 0.9f, .clip = {.norm = 5}}, {.epochs = 3, .batch_size = 16, .threads = threads}, count);
    CHECK(count.steps == 12);
    CHECK(count.worst == 0);
    Hinton<Net, Net> adam{teacher, student, {}};
    CountSteps again;
    fit(adam, data, optim::AdamW{}, {.epochs = 2, .batch_size = 16, .threads = threads}, again);
    CHECK(again.worst == 0);
  }
  CHECK(allocations.load() > 0);  // the counter counts
}
