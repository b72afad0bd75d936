#pragma once
// Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011). A draw is a pure function of (seed, stream,
// index), so batches, augmentation and dropout do not depend on threads, devices or the order of evaluation.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <retort/config.hpp>
#include <utility>

namespace retort {

/// Four words of the stream. A plain array inside: device code cannot index a std::array.
struct Philox4 {
  std::uint32_t word[4];
  RETORT_HD constexpr std::uint32_t operator[](std::size_t i) const { return word[i]; }
  friend constexpr bool operator==(const Philox4&, const Philox4&) = default;
};
struct PhiloxKey {
  std::uint32_t word[2];
};

/// Four 32-bit words from a 128-bit counter and a 64-bit key; 10 rounds.
RETORT_HD Philox4 philox4x32(Philox4 counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter.word[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {{static_cast<std::uint32_t>(b >> 32) ^ counter.word[1] ^ key.word[0], static_cast<std::uint32_t>(b),
                static_cast<std::uint32_t>(a >> 32) ^ counter.word[3] ^ key.word[1], static_cast<std::uint32_t>(a)}};
    key = {{key.word[0] + 0x9E3779B9u, key.word[1] + 0xBB67AE85u}};
  }
  return counter;
}

/// A stream of random numbers addressed by position. Copy it freely: it holds a key and a counter, nothing else.
/// `Rng(seed).fork(epoch).fork(sample)` gives independent streams by purpose.
class Rng {
 public:
  constexpr explicit Rng(std::uint64_t seed = 0, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  /// An independent stream derived from this one by a label; does not advance this one.
  Rng fork(std::uint64_t label) const {
    const auto w = words(~label, 0x5851F42Du);
    return Rng((std::uint64_t{w[0]} << 32) | w[1], (std::uint64_t{w[2]} << 32) | w[3]);
  }

  /// Word `i` of the stream; random access, does not advance.
  std::uint32_t at(std::uint64_t i) const { return words(i >> 2, 0)[i & 3]; }
  /// Four consecutive words, 4*block to 4*block+3.
  Philox4 block(std::uint64_t b) const { return words(b, 0); }

  std::uint32_t next_u32() { return at(next_++); }
  std::uint64_t next_u64() {
    const std::uint64_t hi = next_u32();
    return (hi << 32) | next_u32();
  }
  /// Uniform in [0, 1), 24 bits.
  float uniform() { return to_unit(next_u32()); }
  double uniform_double() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  /// Uniform integer in [0, n); n >= 1. Multiply-shift; the bias is below n / 2^64.
  std::uint64_t below(std::uint64_t n) {
    return static_cast<std::uint64_t>((static_cast<wide>(next_u64()) * n) >> 64);
  }
  /// Standard normal, Box-Muller in double.
  double normal() {
    const double u = 1.0 - uniform_double(), v = uniform_double();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586477 * v);
  }
  /// Fisher-Yates shuffle of a random-access range.
  template <class Range>
  void shuffle(Range& range) {
    for (std::uint64_t n = static_cast<std::uint64_t>(range.size()); n > 1; --n)
      std::swap(range[n - 1], range[below(n)]);
  }

  static constexpr float to_unit(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

  std::uint64_t seed() const { return seed_; }
  std::uint64_t stream() const { return stream_; }
  /// Position in the stream, for exact resume.
  std::uint64_t position() const { return next_; }
  void seek(std::uint64_t position) { next_ = position; }

 private:
  __extension__ typedef unsigned __int128 wide;
  Philox4 words(std::uint64_t index, std::uint32_t domain) const {
    const std::uint64_t s = stream_ ^ (std::uint64_t{domain} << 32);
    return philox4x32({{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                        static_cast<std::uint32_t>(s), static_cast<std::uint32_t>(s >> 32)}},
                      {{static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)}});
  }
  std::uint64_t seed_, stream_, next_ = 0;
};

}  // namespace retort
