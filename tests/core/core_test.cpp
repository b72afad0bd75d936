#include <doctest/doctest.h>

#include <filesystem>
#include <retort/backend/cpu.hpp>
#include <retort/core/rng.hpp>
#include <retort/core/tensor.hpp>
#include <set>
#include <vector>

using namespace retort;

TEST_CASE("messages: text, numbers of every kind, shapes and paths in one line") {
  enum Plain { two = 2 };
  const std::string text = "text";
  CHECK(detail::concat("a ", text, std::string_view(" b "), 3, " ", -4L, " ", ~0ull, " ", 1.5f, " ", true, " ", Shape<2>{3, 4}, " ", std::filesystem::path("/c"), " ", two) ==
        "a text b 3 -4 18446744073709551615 1.5 1 (3, 4) /c 2");
  CHECK_NOTHROW(require<shape_error>(true, "no"));
  CHECK_THROWS_WITH_AS(require<shape_error>(false, "expected ", Shape<1>{2}, ", got ", 7), "expected (2), got 7", shape_error);
}

TEST_CASE("philox4x32-10 reproduces the published known-answer vectors") {
  // Random123 kat_vectors: all-zero and all-one inputs, and the digits of pi.
  const auto zero = philox4x32({{0, 0, 0, 0}}, {{0, 0}});
  CHECK(zero == Philox4{{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}});
  const auto ones = philox4x32({{~0u, ~0u, ~0u, ~0u}}, {{~0u, ~0u}});
  CHECK(ones == Philox4{{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}});
  const auto pi = philox4x32({{0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}}, {{0xa4093822u, 0x299f31d0u}});
  CHECK(pi == Philox4{{0xd16cfe09u, 0x94fdcceb, 0x5001e420u, 0x24126ea1u}});
}

TEST_CASE("rng streams: random access equals sequence, forks differ, shuffles permute") {
  Rng a(7), b(7);
  for (std::uint64_t i = 0; i < 16; ++i) CHECK(a.next_u32() == b.at(i));
  CHECK(Rng(7).fork(1).at(0) != Rng(7).fork(2).at(0));
  CHECK(Rng(7).fork(1).at(0) == Rng(7).fork(1).at(0));
  std::vector<int> v(100);
  for (int i = 0; i < 100; ++i) v[static_cast<std::size_t>(i)] = i;
  a.shuffle(v);
  CHECK(std::set<int>(v.begin(), v.end()).size() == 100);
  double mean = 0, square = 0;
  for (int i = 0; i < 20000; ++i) {
    const double x = a.normal();
    mean += x / 20000;
    square += x * x / 20000;
  }
  CHECK(std::abs(mean) < 0.03);
  CHECK(std::abs(square - 1) < 0.05);
}

TEST_CASE("shape errors show both shapes") {
  Tensor<float, 2> t(Shape{2, 3});
  CHECK(t.size() == 6);
  try {
    t.view().reshape(Shape{4, 2});
    FAIL("expected shape_error");
  } catch (const shape_error& e) {
    const std::string what = e.what();
    CHECK(what.find("(2, 3)") != std::string::npos);
    CHECK(what.find("(4, 2)") != std::string::npos);
  }
}

TEST_CASE("arena reuses its blocks") {
  Arena<Cpu> arena;
  std::size_t capacity = 0;
  for (int step = 0; step < 3; ++step) {
    arena.reset();
    for (int i = 1; i < 200; ++i) {
      auto* p = arena.allocate<double>(i * 37);
      CHECK(reinterpret_cast<std::uintptr_t>(p) % 64 == 0);
      p[0] = p[i * 37 - 1] = 1;
    }
    if (step == 0)
      capacity = arena.capacity();
    else
      CHECK(arena.capacity() == capacity);
  }
}

/// Gives 2^17 bytes in all.
struct Scarce {
  static inline std::size_t left;
  static void* allocate(std::size_t bytes) {
    if (bytes > left) throw std::bad_alloc();
    left -= bytes;
    return HostMemory::allocate(bytes);
  }
  static void deallocate(void* p) { HostMemory::deallocate(p); }
};
TEST_CASE("an arena takes as much as it needs where there is no room for twice its last block") {
  Scarce::left = std::size_t{1} << 17;
  Arena<Scarce> arena;
  arena.allocate<char>(60'000);
  arena.allocate<char>(40'000);
  CHECK(arena.capacity() <= std::size_t{1} << 17);
  CHECK_THROWS_AS(arena.allocate<char>(40'000), std::bad_alloc);
  const std::size_t capacity = arena.capacity();
  arena.reset();
  for (int bytes : {60'000, 40'000}) arena.allocate<char>(bytes);
  CHECK(arena.capacity() == capacity);
}

TEST_CASE("parallel covers every item once, for any thread count") {
  for (int threads : {1, 2, 3, 5}) {
    Cpu cpu(threads);
    for (index_t n : {0, 1, 2, 7, 1000}) {
      std::vector<int> hits(static_cast<std::size_t>(n));
      for (int repeat = 0; repeat < 50; ++repeat)
        cpu.parallel(n, 1, [&](index_t begin, index_t end, int) {
          for (index_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
        });
      for (int h : hits) CHECK(h == 50);
    }
  }
  CHECK_THROWS_AS(Cpu(0), value_error);
}
