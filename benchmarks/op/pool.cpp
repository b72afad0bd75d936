// Pooling 2 x 2, 64 images. Bytes: the arrays read and written, indices included.

#include <array>

#include "op.hpp"

namespace {

using namespace bench;

struct Images {
  PoolGeometry geometry;
  Tensor<float, 4> x, y;
  Tensor<std::int32_t, 4> index;
  explicit Images(const benchmark::State& s)
      : x(filled(Shape{64, s.range(1), s.range(1), s.range(0)})), y(geometry.output(x.shape())), index(y.shape()) {
    Cpu cpu;
    K::max_pool_forward(cpu, geometry, x, y.view(), index.data());
  }
};

void max_pool_forward(benchmark::State& state) {
  Cpu cpu;
  Images i(state);
  for (auto _ : state) K::max_pool_forward(cpu, i.geometry, i.x, i.y.view(), i.index.data());
  report_bytes(state, (i.x.size() + 2 * i.y.size()) * 4);
}
void max_pool_backward(benchmark::State& state) {
  Cpu cpu;
  Images i(state);
  for (auto _ : state) K::max_pool_backward(cpu, i.geometry, i.y, i.index.data(), i.x.view(), Write::replace);
  report_bytes(state, (i.x.size() + 2 * i.y.size()) * 4);
}
void average_pool_forward(benchmark::State& state) {
  Cpu cpu;
  Images i(state);
  for (auto _ : state) K::average_pool_forward(cpu, i.geometry, i.x, i.y.view());
  report_bytes(state, (i.x.size() + i.y.size()) * 4);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"C", "H"})->Unit(benchmark::kMicrosecond);
  for (auto [c, h] : {std::array{16, 32}, {32, 16}}) b->Args({c, h});
}
BENCHMARK(max_pool_forward)->Apply(shapes);
BENCHMARK(max_pool_backward)->Apply(shapes);
BENCHMARK(average_pool_forward)->Apply(shapes);

}  // namespace
