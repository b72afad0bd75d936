// Whole training steps: forward, row losses, backward, update. FLOP/s count the matrix products of the student alone
// (forward, data and weight gradients); the floor is the measured peak.

#include <benchmark/benchmark.h>

#include <cstdio>
#include <machine.hpp>
#include <training_step.hpp>

namespace {

using namespace bench;

void report(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["samples/s"] = benchmark::Counter(static_cast<double>(state.range(0)), benchmark::Counter::kIsIterationInvariantRate);
}

template <index_t In, index_t Hidden>
void mlp_step(benchmark::State& state) {
  TrainingStep<Mlp, 2> run(mlp(In, Hidden), Shape{state.range(0), In}, static_cast<int>(state.range(1)));
  for (auto _ : state) benchmark::DoNotOptimize(run.step());
  const double n = static_cast<double>(state.range(0));
  report(state, 2 * n * (2.0 * In * Hidden + 3.0 * Hidden * 10));
}
void cnn_step(benchmark::State& state) {
  TrainingStep<Cnn, 4> run(small_cnn(), Shape{state.range(0), index_t{32}, index_t{32}, index_t{3}}, static_cast<int>(state.range(1)));
  for (auto _ : state) benchmark::DoNotOptimize(run.step());
  const double first = 32 * 32 * 9 * 3 * 16.0, second = 16 * 16 * 9 * 16 * 32.0, last = 2048 * 10.0;
  report(state, 2 * static_cast<double>(state.range(0)) * (2 * first + 3 * second + 3 * last));
}

BENCHMARK(mlp_step<784, 256>)->ArgNames({"batch", "threads"})->ArgsProduct({{8, 32, 64, 128, 512}, {1}})->Args({512, 2})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(mlp_step<64, 32>)->ArgNames({"batch", "threads"})->Args({32, 1})->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(cnn_step)->ArgNames({"batch", "threads"})->Args({1, 1})->Args({16, 1})->Args({64, 1})->Args({64, 2})->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  std::fprintf(stderr, "%s; measured FMA peak %.1f GFLOP/s a thread\n", processor().c_str(), measure_peak_flops() * 1e-9);
  benchmark::RunSpecifiedBenchmarks();
}
