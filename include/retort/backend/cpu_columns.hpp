#pragma once
// Sums over the rows of [rows][C] data, the common shape of bias gradients and of batch norm: channels in the lanes,
// rows cut into blocks that stay in the first-level cache, one slice of rows per worker.

#include <array>
#include <retort/backend/cpu_common.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// Calls f(c, width) for each vector of channels; `width` < lanes in the last one if it is partial.
template <class T, class F>
RETORT_INLINE void each_vector(index_t channels, F&& f) {
  constexpr index_t lanes = simd::native_lanes<T>;
  index_t c = 0;
  for (; c + lanes <= channels; c += lanes) f(c, std::integral_constant<int, simd::native_lanes<T>>{});
  if (c < channels) f(c, static_cast<int>(channels - c));
}
/// Loads and stores of a whole vector, whose width is a constant, or of a partial one.
template <class T, class Width>
RETORT_INLINE simd::Native<T> load(const T* p, Width width) {
  if constexpr (std::is_same_v<Width, int>)
    return simd::Native<T>::load_partial(p, width);
  else
    return simd::Native<T>::load(p);
}
template <class T, class Width>
RETORT_INLINE void store(T* p, simd::Native<T> v, Width width) {
  if constexpr (std::is_same_v<Width, int>)
    v.store_partial(p, width);
  else
    v.store(p);
}

/// Calls f(first, last) for blocks of rows of about 16 KiB: whatever walks a block column by column, or twice, finds it
/// in the first-level cache.
template <class T, class F>
RETORT_INLINE void each_block(index_t first, index_t last, index_t channels, F&& f) {
  const index_t bytes = std::max<index_t>(channels, 1) * static_cast<index_t>(sizeof(T));
  const index_t rows = std::clamp<index_t>((16 << 10) / bytes, 8, 512);
  for (; first < last; first += rows) f(first, std::min(first + rows, last));
}

/// Sums of the `Sums` vectors f(row) over the rows [first, last).
template <int Sums, class P, class F>
RETORT_INLINE std::array<P, Sums> sum_rows(index_t first, index_t last, F&& f) {
  std::array<P, Sums> sums[4];  // four rows at a time: independent chains hide the latency of the additions
  for (auto& chain : sums) chain.fill(P(typename P::value_type{0}));
  for (; first + 4 <= last; first += 4)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const std::array<P, Sums> terms = f(first + k);
#pragma GCC unroll 2
      for (std::size_t s = 0; s < Sums; ++s) sums[k][s] += terms[s];
    }
  for (; first < last; ++first) {
    const std::array<P, Sums> terms = f(first);
    for (std::size_t s = 0; s < Sums; ++s) sums[0][s] += terms[s];
  }
  for (std::size_t s = 0; s < Sums; ++s) sums[0][s] = (sums[0][s] + sums[1][s]) + (sums[2][s] + sums[3][s]);
  return sums[0];
}

/// Rows that repay a worker of their own.
inline index_t row_grain(index_t channels) { return std::max<index_t>(1, (16 << 10) / std::max<index_t>(channels, 1)); }

/// Per-column sums over all rows, split among the workers and added up in a fixed order: out[s * channels + c] becomes
/// sum s of column c. `terms(c, width)` gives the function of a row that returns the terms of the columns c to c + width.
template <int Sums, class T, class F>
void reduce_rows(Cpu& cpu, index_t rows, index_t channels, T* out, F&& terms) {
  using P = simd::Native<T>;
  const index_t grain = row_grain(channels), size = Sums * channels;
  const int parts = cpu.slices(rows, grain);
  ArenaScope scope(cpu.scratch());
  T* const others = cpu.scratch().template allocate<T>((parts - 1) * size);
  std::fill_n(out, size, T{0});
  std::fill_n(others, (parts - 1) * size, T{0});
  cpu.parallel(rows, grain, [&](index_t first, index_t last, int worker) {
    T* const mine = worker == 0 ? out : others + (worker - 1) * size;
    each_block<T>(first, last, channels, [&](index_t r0, index_t r1) {
      each_vector<T>(channels, [&](index_t c, auto width) {
        const auto sums = sum_rows<Sums, P>(r0, r1, terms(c, width));
        for (int s = 0; s < Sums; ++s) {
          T* to = mine + s * channels + c;
          store(to, load<T>(to, width) + sums[static_cast<std::size_t>(s)], width);
        }
      });
    });
  });
  for (int part = 1; part < parts; ++part) add_to(out, others + (part - 1) * size, size);
}

/// Runs the function of a row that `action(c, width)` gives over all rows, split among the workers. It walks backwards:
/// what a preceding pass over the same rows read last is still in cache, and so is what the next one reads first.
template <class T, class F>
void map_rows(Cpu& cpu, index_t rows, index_t channels, F&& action) {
  cpu.parallel(rows, row_grain(channels), [&](index_t first, index_t last, int) {
    each_block<T>(-last, -first, channels, [&](index_t r0, index_t r1) {
      each_vector<T>(channels, [&](index_t c, auto width) {
        const auto row = action(c, width);
        for (index_t r = -r1; r < -r0; ++r) row(r);
      });
    });
  });
}

}  // namespace RETORT_ISA
}  // namespace retort::cpu
