// After the first epoch the turns of student and guide ask the system for no memory.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>

#include "count_allocations.hpp"
#include "worlds.hpp"

using namespace retort;

namespace {
struct CountSteps {
  long before = 0, worst = 0;
  int steps = 0;
  template <class S>
  void on_step(S& session) {
    const long now = allocations.load();
    if (session.progress().epoch > 0 && session.steps_done() > 1) worst = std::max(worst, now - before), ++steps;
    before = allocations.load();
  }
};
}  // namespace

TEST_CASE("turns of student and guide allocate nothing after the first epoch") {
  test::World world;
  using Method = Disk<test::Mlp, test::Mlp, censor::GuideB23>;
  Method method{world.teacher, world.student, test::top3(), Method::censor(censor::guide_b23(4, 8, 8), {.phases = {.warmup = 1, .student_passes = 1, .guide_passes = 1}})};
  CountSteps count;
  fit(method, world.data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, {.epochs = 3, .batch_size = 60}, count);
  CHECK(count.steps == 2 * (8 - 1));
  CHECK(count.worst == 0);
  CHECK(allocations.load() > 0);
}
