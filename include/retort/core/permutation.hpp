#pragma once

#include <retort/core/rng.hpp>
#include <retort/core/shape.hpp>

namespace retort {

/// A random permutation of [0, size) that needs no memory: four Feistel rounds over the next power of four, walked until the
/// result lies inside. A pure function of the stream; `size` at least 1.
class Permutation {
 public:
  Permutation(index_t size, const Rng& rng) : size_(static_cast<std::uint64_t>(size)), keys_(rng.block(0)) {
    while ((std::uint64_t{1} << (2 * half_)) < size_) ++half_;
  }
  index_t operator()(index_t i) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_) - 1;
    auto x = static_cast<std::uint64_t>(i);
    do {
      std::uint64_t left = x >> half_, right = x & mask;
      for (const std::uint32_t key : keys_.word) {
        const std::uint64_t next = left ^ (mix(right ^ key) & mask);
        left = right;
        right = next;
      }
      x = left << half_ | right;
    } while (x >= size_);
    return static_cast<index_t>(x);
  }

 private:
  /// The 64-bit finaliser of SplitMix (Steele et al. 2014).
  static std::uint64_t mix(std::uint64_t x) {
    x = (x + 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
  }
  std::uint64_t size_;
  int half_ = 1;
  Philox4 keys_;
};

}  // namespace retort
