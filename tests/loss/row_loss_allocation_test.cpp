// A training step allocates nothing after the first one: counted by replacing the global operator new of this binary.

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "row_loss_fixture.hpp"

namespace {
std::atomic<long> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* p = alignment > sizeof(void*) ? std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment) : std::malloc(bytes ? bytes : 1);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
}  // namespace

__attribute__((noinline)) void* operator new(std::size_t bytes) { return counted(bytes, 0); }
__attribute__((noinline)) void* operator new[](std::size_t bytes) { return counted(bytes, 0); }
__attribute__((noinline)) void* operator new(std::size_t bytes, std::align_val_t alignment) { return counted(bytes, static_cast<std::size_t>(alignment)); }
__attribute__((noinline)) void* operator new[](std::size_t bytes, std::align_val_t alignment) { return counted(bytes, static_cast<std::size_t>(alignment)); }
__attribute__((noinline)) void operator delete(void* p) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete[](void* p) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, std::size_t) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
__attribute__((noinline)) void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

TEST_CASE("a row loss allocates nothing after the first call") {
  for (int threads : {1, 3}) {
    Cpu cpu(threads);
    Problem<float> p(300, 700);
    const Sum loss{HintonLoss{}, JensenShannon<BatchMean, TSquared>{.temperature = 2}, LogitMatching{}};
    RowGradients<float> g;
    g.student = {p.d_student.data(), {p.rows, p.classes}};
    const RowBatch<float> batch = p.batch();
    const auto step = [&] { return cpu::RowLossKernels::row_loss(cpu, loss, batch, g); };
    const long before_first = allocations;
    const float first = step();
    CHECK(allocations > before_first);  // the counter counts
    const long after_first = allocations;
    for (int i = 0; i < 5; ++i) CHECK(step() == first);
    CHECK(allocations - after_first == 0);
  }
}
