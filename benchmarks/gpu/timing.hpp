#pragma once
// What the benchmarks of this folder share: times by events, and a line of JSON for each result, which report.py reads beside
// those of peers.py. With `--quick` they take sizes at which the emulation of tests/cuda can run them on a CPU:
//   g++ -std=c++20 -O1 -x c++ -Itests/cuda/emulation -Iinclude benchmarks/gpu/step.cu -pthread -o step && ./step --quick

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <retort/core/bfloat16.hpp>
#include <retort/core/rng.hpp>
#include <retort/cuda/context.hpp>
#include <string>
#include <vector>

namespace bench {

using namespace retort;

inline bool no_device() {
  int devices = 0;
  const bool none = cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0;
  if (none) std::puts("SKIPPED: no CUDA device");
  return none;
}
inline bool quick(int argc, char** argv) { return argc > 1 && !std::strcmp(argv[1], "--quick"); }

/// One result. Fields that say nothing (0, empty) are left out of the line.
struct Result {
  std::string by, work, type, shape;
  double ms = 0;
  double bytes = 0;  ///< that must move
  double flops = 0;  ///< that must be done
  double peak_bytes = 0;  ///< of device memory, inputs included
  std::string note{};
};
inline void print(const Result& r) {
  cudaDeviceProp device;
  cuda::check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  std::printf("{\"device\": \"%s\", \"by\": \"%s\", \"work\": \"%s\", \"type\": \"%s\", \"shape\": \"%s\", \"ms\": %.5g", device.name, r.by.c_str(), r.work.c_str(),
              r.type.c_str(), r.shape.c_str(), r.ms);
  const auto number = [](const char* name, double value) {
    if (value > 0) std::printf(", \"%s\": %.6g", name, value);
  };
  number("bytes", r.bytes);
  number("gb_per_s", r.bytes / r.ms * 1e-6);
  number("flops", r.flops);
  number("tflop_per_s", r.flops / r.ms * 1e-9);
  number("peak_bytes", r.peak_bytes);
  if (!r.note.empty()) std::printf(", \"note\": \"%s\"", r.note.c_str());
  std::puts("}");
  std::fflush(stdout);
}

struct Repetitions {
  int rounds = 20;  ///< whose median counts
  int calls = 5;    ///< in a round, one behind the other without waiting
};
/// Median milliseconds of one call f(i), where i counts the calls, after a round of warm-up.
template <class F>
double milliseconds(const Cuda& cuda, F&& f, Repetitions repeat = {}) {
  cudaEvent_t start, stop;
  cuda::check(cudaEventCreate(&start), "cudaEventCreate");
  cuda::check(cudaEventCreate(&stop), "cudaEventCreate");
  std::vector<float> times;
  for (int round = -1, i = 0; round < repeat.rounds; ++round) {
    cuda::check(cudaEventRecord(start, cuda.stream()), "cudaEventRecord");
    for (int call = 0; call < repeat.calls; ++call) f(i++);
    cuda::check(cudaEventRecord(stop, cuda.stream()), "cudaEventRecord");
    cuda::check(cudaEventSynchronize(stop), "cudaEventSynchronize");
    float ms = 0;
    cuda::check(cudaEventElapsedTime(&ms, start, stop), "cudaEventElapsedTime");
    if (round >= 0) times.push_back(ms / static_cast<float>(repeat.calls));
  }
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

/// Bytes of device memory in use by all.
inline double used_bytes() {
  std::size_t free = 0, total = 0;
  cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<double>(total - free);
}

/// Uniform in [-scale, scale). Large tensors repeat a stretch of a prime length, which is made once on the host.
template <class T, int Rank>
Tensor<T, Rank, Cuda> uniform(const Shape<Rank>& shape, std::uint64_t seed, float scale) {
  constexpr index_t period = 1000003;
  Tensor<T, Rank, Cuda> out(shape);
  Rng rng(seed);
  std::vector<T> values(static_cast<std::size_t>(std::min(period, shape.size())));
  for (T& v : values) v = T(scale * (2 * rng.uniform() - 1));
  for (index_t at = 0; at < shape.size(); at += period)
    Cuda::copy(out.data() + at, values.data(), static_cast<std::size_t>(std::min(period, shape.size() - at)) * sizeof(T));
  return out;
}
/// 0, 1, ..., classes - 1, 0, 1, ...
inline Tensor<std::int32_t, 1, Cuda> labels(index_t n, index_t classes) {
  std::vector<std::int32_t> values;
  for (index_t i = 0; i < n; ++i) values.push_back(static_cast<std::int32_t>(i % classes));
  Tensor<std::int32_t, 1, Cuda> out(Shape{n});
  Cuda::copy(out.data(), values.data(), values.size() * sizeof(std::int32_t));
  return out;
}
template <int Rank>
std::string text(const Shape<Rank>& shape) {
  std::string out;
  for (int axis = 0; axis < Rank; ++axis) out += (axis ? "x" : "") + std::to_string(shape[axis]);
  return out;
}
template <class Stored>
constexpr const char* type_name = sizeof(Stored) == 2 ? "bf16" : "float";

}  // namespace bench
