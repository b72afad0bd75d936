// Row losses with the gradient to the student, one thread, float. Beside each time: bytes/s of the arrays that must move
// (read both logits, write the gradient: 12 bytes an element). Baselines in the same run: a stream over the same arrays
// (gradient = c * (student - teacher)), the lowest time the machine allows, and soft targets as plain Eigen expressions.

#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <retort/backend/cpu_row_loss.hpp>
#include <retort/core/rng.hpp>
#include <retort/core/tensor.hpp>
#include <retort/loss/hinton_loss.hpp>
#include <retort/loss/jensen_shannon.hpp>
#include <retort/loss/logit_distance.hpp>
#include <retort/loss/reverse_kl.hpp>

namespace {

using namespace retort;
using namespace retort::loss;

struct Logits {
  Cpu cpu;
  Tensor<float, 2> student, teacher, gradient;
  Tensor<std::int32_t, 1> labels;

  explicit Logits(const benchmark::State& state)
      : student(Shape{state.range(0), state.range(1)}),
        teacher(student.shape()),
        gradient(student.shape()),
        labels(Shape{state.range(0)}) {
    Rng rng(7);
    for (float& z : student) z = 2 * rng.normal();
    for (float& t : teacher) t = 3 * rng.normal();
    for (std::int32_t& y : labels) y = static_cast<std::int32_t>(rng.next_u32() % static_cast<std::uint32_t>(state.range(1)));
  }
  void report(benchmark::State& state) const { state.SetBytesProcessed(state.iterations() * student.size() * 12); }
};

void stream(benchmark::State& state) {
  Logits d(state);
  using P = simd::Native<float>;
  const float *s = d.student.data(), *t = d.teacher.data();
  float* g = d.gradient.data();
  const index_t size = d.student.size() / P::lanes * P::lanes;
  for (auto _ : state) {
    for (index_t i = 0; i < size; i += P::lanes) (P(0.01f) * (P::load(s + i) - P::load(t + i))).store(g + i);
    benchmark::ClobberMemory();
  }
  d.report(state);
}

/// What one would write with Eigen: expressions over whole matrices.
void eigen_soft_targets(benchmark::State& state) {
  using Matrix = Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Logits d(state);
  const index_t n = d.student.extent(0), c = d.student.extent(1);
  const Eigen::Map<const Matrix> s(d.student.data(), n, c), t(d.teacher.data(), n, c);
  Eigen::Map<Matrix> g(d.gradient.data(), n, c);
  const float temperature = 4;
  const auto log_softmax = [&](const Eigen::Map<const Matrix>& z) {
    Matrix x = z / temperature;
    x.colwise() -= x.rowwise().maxCoeff().eval();
    x.colwise() -= x.exp().rowwise().sum().log().eval();
    return x;
  };
  for (auto _ : state) {
    const Matrix ls = log_softmax(s), lt = log_softmax(t), pt = lt.exp();
    benchmark::DoNotOptimize(temperature * temperature / float(n) * (pt * (lt - ls)).sum());
    g = temperature / float(n) * (ls.exp() - pt);
    benchmark::ClobberMemory();
  }
  d.report(state);
}

template <class Loss>
void row_loss(benchmark::State& state, const Loss& loss) {
  Logits d(state);
  RowBatch<float> batch;
  batch.student = std::as_const(d.student).view();
  batch.teacher = std::as_const(d.teacher).view();
  batch.labels = std::as_const(d.labels).view();
  RowGradients<float> out;
  out.student = d.gradient.view();
  for (auto _ : state) benchmark::DoNotOptimize(cpu::RowLossKernels::row_loss(d.cpu, loss, batch, out));
  d.report(state);
}

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "classes"})->Args({32, 10})->Args({128, 100})->Args({256, 1000})->Args({64, 32000})->Unit(benchmark::kMicrosecond);
}

constexpr SoftTargets soft{.temperature = 4};
constexpr CrossEntropy<BatchMean> hard{};
constexpr ReverseKl<BatchMean, TSquared> reverse{.temperature = 4};
constexpr JensenShannon<BatchMean, TSquared> jensen_shannon{.temperature = 4};
constexpr LogitMse<BatchMean> mse{};

BENCHMARK(stream)->Apply(sizes);
BENCHMARK(eigen_soft_targets)->Apply(sizes);
BENCHMARK_CAPTURE(row_loss, soft_targets, soft)->Apply(sizes);
BENCHMARK_CAPTURE(row_loss, cross_entropy, hard)->Apply(sizes);
BENCHMARK_CAPTURE(row_loss, reverse_kl, reverse)->Apply(sizes);
BENCHMARK_CAPTURE(row_loss, jensen_shannon, jensen_shannon)->Apply(sizes);
BENCHMARK_CAPTURE(row_loss, logit_mse, mse)->Apply(sizes);
BENCHMARK_CAPTURE(row_loss, hinton, HintonLoss{})->Apply(sizes);
BENCHMARK_CAPTURE(row_loss, soft_hard_reverse_mse, Sum{soft, hard, reverse, mse})->Apply(sizes);
BENCHMARK_CAPTURE(row_loss, soft_hard_reverse_jensen_shannon, Sum{soft, hard, reverse, jensen_shannon})->Apply(sizes);

}  // namespace

BENCHMARK_MAIN();
