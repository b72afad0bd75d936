#pragma once
// Shared by the op benchmarks: filled tensors and the rates printed beside each time. One thread, float.

#include <benchmark/benchmark.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/core/rng.hpp>

namespace bench {

using namespace retort;
using K = Kernels<Cpu>;

template <int Rank>
Tensor<float, Rank> filled(Shape<Rank> shape) {
  Tensor<float, Rank> out(shape);
  Rng rng(1);
  for (float& v : out) v = rng.uniform(-1, 1);
  return out;
}

/// Measured once by main; benchmarks report their share of it.
inline double peak_flops = 0;

inline void report_flops(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = benchmark::Counter(flops / peak_flops, benchmark::Counter::kIsIterationInvariantRate);
}
inline void report_bytes(benchmark::State& state, index_t bytes) {
  state.SetBytesProcessed(state.iterations() * bytes);
}

}  // namespace bench
