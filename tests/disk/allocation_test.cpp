// After the first epoch the turns of student and guide ask the system for no memory.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <retort/backend/cpu_kernels.hpp>

#include "worlds.hpp"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"  // inlined, malloc and free no longer look like a pair
#endif

namespace {
std::atomic<long> allocations{0};
void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* p = alignment > 16 ? std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment) : std::malloc(bytes);
  if (!p) throw std::bad_alloc();
  return p;
}
}  // namespace

void* operator new(std::size_t n) { return counted(n, 16); }
void* operator new[](std::size_t n) { return counted(n, 16); }
void* operator new(std::size_t n, std::align_val_t a) { return counted(n, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return counted(n, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

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
