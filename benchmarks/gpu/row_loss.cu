// The row-loss kernel against the copy bandwidth of the same run: value and gradient of soft targets, and of a sum of four
// losses, in float and on logits stored as bf16. Prints a Markdown table; see run_on_device.sh.

#include <algorithm>
#include <cstdio>
#include <retort/core/bfloat16.hpp>
#include <retort/core/rng.hpp>
#include <retort/cuda/row_loss.cuh>
#include <retort/loss/hinton_loss.hpp>
#include <retort/loss/jensen_shannon.hpp>
#include <retort/loss/reverse_kl.hpp>
#include <vector>

using namespace retort;

namespace {

struct Four {
  loss::SoftTargets soft{.temperature = 4};
  loss::CrossEntropy<BatchMean> hard{};
  loss::ReverseKl<BatchMean, loss::TSquared> reverse{.temperature = 4};
  loss::JensenShannon<BatchMean, loss::TSquared> middle{.temperature = 4};
  constexpr auto terms() const { return loss::Sum{soft, hard, reverse, middle}; }
};

/// Median seconds of one call, by events, after a warm-up.
template <class F>
double seconds(const Cuda& cuda, F&& f, int rounds = 50) {
  cudaEvent_t start, stop;
  cuda::check(cudaEventCreate(&start), "cudaEventCreate");
  cuda::check(cudaEventCreate(&stop), "cudaEventCreate");
  std::vector<float> milliseconds;
  for (int i = -5; i < rounds; ++i) {
    cuda::check(cudaEventRecord(start, cuda.stream()), "cudaEventRecord");
    f(i + 5);
    cuda::check(cudaEventRecord(stop, cuda.stream()), "cudaEventRecord");
    cuda::check(cudaEventSynchronize(stop), "cudaEventSynchronize");
    float ms = 0;
    cuda::check(cudaEventElapsedTime(&ms, start, stop), "cudaEventElapsedTime");
    if (i >= 0) milliseconds.push_back(ms);
  }
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  std::nth_element(milliseconds.begin(), milliseconds.begin() + rounds / 2, milliseconds.end());
  return milliseconds[static_cast<std::size_t>(rounds / 2)] * 1e-3;
}

template <class Stored>
void rows(Cuda& cuda, double copy_bandwidth, index_t n, index_t c) {
  constexpr int sets = 3;  // rotating inputs: together more than the second-level cache
  Rng rng(1);
  std::vector<Stored> values(static_cast<std::size_t>(n * c));
  std::vector<Tensor<Stored, 2, Cuda>> s, t, g;
  for (int k = 0; k < sets; ++k)
    for (auto* list : {&s, &t, &g}) {
      list->emplace_back(Shape{n, c});
      for (Stored& v : values) v = Stored(6 * rng.uniform() - 3);
      if (list != &g) Cuda::copy(list->back().data(), values.data(), values.size() * sizeof(Stored));
    }
  std::vector<std::int32_t> labels;
  for (index_t r = 0; r < n; ++r) labels.push_back(static_cast<std::int32_t>(r % c));
  Tensor<std::int32_t, 1, Cuda> y(Shape{n});
  Cuda::copy(y.data(), labels.data(), labels.size() * sizeof(std::int32_t));
  Tensor<float, 1, Cuda> value(Shape{1});
  const auto report = [&](const char* name, auto&& loss) {
    const double time = seconds(cuda, [&](int i) {
      const auto k = static_cast<std::size_t>(i % sets);
      cuda::RowLossKernels::row_loss(cuda, loss, RowBatch<float, Stored>{.student = s[k].view(), .teacher = t[k].view(), .labels = y.view()},
                                     RowGradients<float, Stored>{.student = g[k].view()}, value.view());
    });
    const double bandwidth = 3. * sizeof(Stored) * static_cast<double>(n * c) / time;
    std::printf("| %s | %s | %lld x %lld | %.3f | %.0f | %.0f %% |\n", name, sizeof(Stored) == 2 ? "bf16" : "float", static_cast<long long>(n), static_cast<long long>(c), time * 1e3,
                bandwidth * 1e-9, 100 * bandwidth / copy_bandwidth);
  };
  report("soft targets", loss::SoftTargets{.temperature = 4});
  report("sum of four", Four{});
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("SKIPPED: no CUDA device");
    return 0;
  }
  Cuda cuda;
  cudaDeviceProp properties;
  cuda::check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  const std::size_t bytes = std::size_t{1} << 30;
  Tensor<std::uint8_t, 1, Cuda> from(Shape{static_cast<index_t>(bytes)}), to(Shape{static_cast<index_t>(bytes)});
  const double copy = 2. * static_cast<double>(bytes) / seconds(cuda, [&](int) {
    cuda::check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, cuda.stream()), "cudaMemcpyAsync");
  });
  std::printf("# Row losses on a GPU\n\n%s, copy bandwidth %.0f GB/s (read and written). Value and gradient, medians of 50; bytes that must "
              "move: 12 for each entry of float, 6 of bf16.\n\n| loss | stored as | shape | ms | GB/s | of the copy |\n|---|---|---|---|---|---|\n", properties.name, copy * 1e-9);
  rows<float>(cuda, copy, 65536, 1000);
  rows<float>(cuda, copy, 8192, 32000);
  rows<BFloat16>(cuda, copy, 65536, 1000);
  rows<BFloat16>(cuda, copy, 8192, 32000);
}
