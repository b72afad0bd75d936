#pragma once
// What every benchmark states beside its times: the machine, its clock, and the rates it allows.

#include <time.h>

#include <algorithm>
#include <fstream>
#include <retort/backend/simd.hpp>
#include <string>

namespace bench {

/// Processor time of the calling thread, in seconds: other people's load does not count.
inline double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Wall clock, for work on several threads.
inline double wall_seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// The processor's name as Linux reports it.
inline std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

/// Fused multiply-adds per second times two, float, one thread: independent chains in registers, best of 15.
inline double measure_peak_flops() {
  using P = retort::simd::Native<float>;
  constexpr int chains = RETORT_VECTOR_REGISTERS == 32 ? 24 : 12, rounds = 1 << 18;
  double best = 0;
  for (int repeat = 0; repeat < 15; ++repeat) {
    P sums[chains];
    for (int i = 0; i < chains; ++i) sums[i] = P(static_cast<float>(i));
    P a(0.999f), b(0.5f);
    asm volatile("" : "+x"(a.v), "+x"(b.v));
    const double start = thread_seconds();
    for (int r = 0; r < rounds; ++r)
#pragma GCC unroll 24
      for (int i = 0; i < chains; ++i) sums[i] = fma(sums[i], a, b);
    const double seconds = thread_seconds() - start;
    for (P& s : sums) asm volatile("" : "+x"(s.v));
    best = std::max(best, 2.0 * rounds * chains * P::lanes / seconds);
  }
  return best;
}

}  // namespace bench
