// Batch norm with ReLU over [pixels][C], 64 images. Bytes are those that must move once: the arrays read and written.

#include <array>

#include "op.hpp"

namespace {

using namespace bench;

struct Rows {
  Tensor<float, 2> x, y, dy, dx;
  Tensor<float, 1> mean, variance, gamma, beta, dgamma, dbeta;
  explicit Rows(const benchmark::State& s)
      : x(filled(Shape{64 * s.range(1) * s.range(1), s.range(0)})),
        y(filled(x.shape())),
        dy(filled(x.shape())),
        dx(x.shape()),
        mean(Shape{s.range(0)}),
        variance(filled(mean.shape())),
        gamma(filled(mean.shape())),
        beta(filled(mean.shape())),
        dgamma(mean.shape()),
        dbeta(mean.shape()) {}
};

void batch_norm_relu_forward(benchmark::State& state) {
  Cpu cpu;
  Rows r(state);
  for (auto _ : state) {
    K::batch_norm_statistics(cpu, r.x, r.mean.data(), r.variance.data());
    K::scale_shift(cpu, r.x, r.gamma.data(), r.beta.data(), r.y.view(), Epilogue::relu);
  }
  report_bytes(state, 2 * r.x.size() * 4);
}
void batch_norm_relu_backward(benchmark::State& state) {
  Cpu cpu;
  Rows r(state);
  for (auto _ : state)
    K::batch_norm_backward(cpu, r.x, r.y, r.dy, r.mean.data(), r.variance.data(), r.gamma.data(), r.dgamma.data(),
                           r.dbeta.data(), Write::replace, r.dx.view(), Write::replace, Epilogue::relu);
  report_bytes(state, 4 * r.x.size() * 4);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"C", "H"})->Unit(benchmark::kMicrosecond);
  for (auto [c, h] : {std::array{16, 32}, {32, 16}, {64, 8}}) b->Args({c, h});
}
BENCHMARK(batch_norm_relu_forward)->Apply(shapes);
BENCHMARK(batch_norm_relu_backward)->Apply(shapes);

}  // namespace
