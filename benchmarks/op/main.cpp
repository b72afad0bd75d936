// Op kernels of the CPU backend against the machine's own limits. `benchmark_op --benchmark_filter=conv` runs a part.

#include <cstdio>
#include <machine.hpp>

#include "op.hpp"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  bench::peak_flops = bench::measure_peak_flops();
  std::fprintf(stderr, "%s, one thread, float; measured FMA peak %.1f GFLOP/s\n", bench::processor().c_str(),
               bench::peak_flops * 1e-9);
  benchmark::RunSpecifiedBenchmarks();
}
