// Synthesis and the defences ask the system for no memory once they run.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/defense/with_abd.hpp>
#include <retort/method/zskt.hpp>

#include "count_allocations.hpp"

using namespace retort;

namespace {
/// Allocations between two batches, the first few excepted.
struct CountBatches {
  int warm = 2, batches = 0;
  long before = 0, worst = 0;
  template <class S>
  void on_step(S&) {
    if (batches++ >= warm) worst = std::max(worst, allocations.load() - before);
    before = allocations.load();
  }
};
}  // namespace

TEST_CASE("zero-shot transfer with vaccine and self-retrospection allocates nothing after its first batches") {
  using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
  const auto net = [](index_t w) { return Net(nn::Conv2d{1, w}, nn::BatchNorm{w}, {}, nn::Conv2d{w, w}, nn::BatchNorm{w}, {}, {}, nn::Linear{w, 3}); };
  Network<Net> teacher(net(6), 1), student(net(4), 2);
  Network<source::DataFreeNet> generator(source::data_free_generator(8, 8, 8, 1, 8, 2), 3);
  WithAbd<Zskt<Net, Net, source::DataFreeNet>> method{
      teacher, {student, teacher, {.start = 0, .search_steps = 2}}, {}, {},
      {{generator, {.latent = 8, .batches_per_epoch = 8, .student_steps = 2}}, teacher, {.shuffle = {.clones = 2, .layers = 1}, .until = 1, .pseudo_test_batches = 0}}};
  CountBatches count;
  fit(method, data::None{}, optim::Adam{.lr = 1e-3f}, {.epochs = 1, .batch_size = 16, .seed = 3}, count);
  CHECK(method.student_policy().calls() == 16);
  CHECK(count.batches == 8);
  CHECK(count.worst == 0);
  CHECK(allocations.load() > 0);  // the counter counts
}
