// Matrix products at the shapes of training steps: forward (NN), data gradient (NT), weight gradient (TN); bias and ReLU
// are fused in the forward ones. Eigen's product, of the same compiler and flags, is the baseline.

#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>

#include "op.hpp"

namespace {

using namespace bench;

enum Kind { forward, data_gradient, weight_gradient };

struct Operands {
  bool at, bt;
  Tensor<float, 2> a, b, c;
  Tensor<float, 1> bias;
  explicit Operands(const benchmark::State& s)
      : at(s.range(3) == weight_gradient),
        bt(s.range(3) == data_gradient),
        a(filled(at ? Shape{s.range(2), s.range(0)} : Shape{s.range(0), s.range(2)})),
        b(filled(bt ? Shape{s.range(1), s.range(2)} : Shape{s.range(2), s.range(1)})),
        c(Shape{s.range(0), s.range(1)}),
        bias(filled(Shape{s.range(1)})) {}
};

void report(benchmark::State& s) {
  report_flops(s, 2.0 * static_cast<double>(s.range(0)) * static_cast<double>(s.range(1)) * static_cast<double>(s.range(2)));
}

void gemm(benchmark::State& state) {
  Cpu cpu;
  Operands o(state);
  const bool fused = !o.at && !o.bt;
  for (auto _ : state) {
    K::gemm(cpu, o.at ? Transpose::yes : Transpose::no, o.bt ? Transpose::yes : Transpose::no, o.a, o.b, o.c.view(),
            Write::replace, fused ? o.bias.data() : nullptr, fused ? Epilogue::relu : Epilogue::none);
    benchmark::ClobberMemory();
  }
  report(state);
}

void gemm_eigen(benchmark::State& state) {
  Operands o(state);
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Eigen::Map<Matrix> a(o.a.data(), o.a.extent(0), o.a.extent(1)), b(o.b.data(), o.b.extent(0), o.b.extent(1)),
      c(o.c.data(), o.c.extent(0), o.c.extent(1));
  Eigen::Map<Eigen::RowVectorXf> bias(o.bias.data(), o.bias.size());
  for (auto _ : state) {
    if (o.at) {
      c.noalias() = a.transpose() * b;
    } else if (o.bt) {
      c.noalias() = a * b.transpose();
    } else {
      c.noalias() = a * b;
      c = (c.rowwise() + bias).cwiseMax(0.f);
    }
    benchmark::ClobberMemory();
  }
  report(state);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"M", "N", "K", "kind"});
  for (auto [m, n, k, kind] : {std::array{128, 256, 784, 0}, {784, 256, 128, 2}, {128, 784, 256, 1}, {128, 512, 512, 0},
                               {128, 512, 512, 1}, {512, 512, 128, 2}, {256, 1024, 1024, 0}, {128, 100, 512, 0},
                               {32, 32, 64, 0}, {32, 10, 32, 0}, {32, 32, 10, 1}, {64, 32, 32, 2}, {8, 256, 784, 0}})
    b->Args({m, n, k, kind});
}
BENCHMARK(gemm)->Apply(shapes);
BENCHMARK(gemm_eigen)->Apply(shapes);

}  // namespace
