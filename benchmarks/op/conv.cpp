// Convolutions 3 x 3, stride 1, padding 1, 64 images, beside the textbook way over Eigen: copy every window into a row of
// a matrix (im2col) and multiply.

#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>
#include <array>

#include "op.hpp"

namespace {

using namespace bench;

struct Layer {
  Conv2dGeometry geometry;
  Tensor<float, 4> x, w, y, dx, dw;
  explicit Layer(const benchmark::State& s)
      : x(filled(Shape{64, s.range(2), s.range(2), s.range(0)})),
        w(filled(Shape{3, 3, s.range(0), s.range(1)})),
        y(filled(geometry.output(x.shape(), s.range(1)))),
        dx(x.shape()),
        dw(w.shape()) {}
};

void report(benchmark::State& s, const Layer& layer) {
  report_flops(s, 2.0 * static_cast<double>(layer.y.size()) * static_cast<double>(9 * s.range(0)));
}

void conv_forward(benchmark::State& state) {
  Cpu cpu;
  Layer l(state);
  for (auto _ : state) K::conv2d_forward(cpu, l.geometry, l.x, l.w, nullptr, l.y.view());
  report(state, l);
}
void conv_data_gradient(benchmark::State& state) {
  Cpu cpu;
  Layer l(state);
  for (auto _ : state) K::conv2d_backward_data(cpu, l.geometry, l.y, l.w, l.dx.view(), Write::replace);
  report(state, l);
}
void conv_weight_gradient(benchmark::State& state) {
  Cpu cpu;
  Layer l(state);
  for (auto _ : state) K::conv2d_backward_weights(cpu, l.geometry, l.x, l.y, l.dw.view(), Write::replace);
  report(state, l);
}

void conv_forward_eigen_im2col(benchmark::State& state) {
  Layer l(state);
  const index_t h = l.x.extent(1), ci = l.x.extent(3), co = l.w.extent(3), taps = 9 * ci;
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Matrix columns(h * h, taps);  // one image at a time: the whole batch would leave the cache
  const Eigen::Map<Matrix> w(l.w.data(), taps, co);
  for (auto _ : state)
    for (index_t n = 0; n < l.x.extent(0); ++n) {
      float* to = columns.data();
      for (index_t r = 0; r < h; ++r)
        for (index_t c = 0; c < h; ++c)
          for (index_t kh = r - 1; kh <= r + 1; ++kh)
            for (index_t kw = c - 1; kw <= c + 1; ++kw, to += ci)
              if (kh < 0 || kh >= h || kw < 0 || kw >= h)
                std::fill_n(to, ci, 0.f);
              else
                std::copy_n(&l.x(n, kh, kw, 0), ci, to);
      Eigen::Map<Matrix>(l.y.view().row(n), h * h, co).noalias() = columns * w;
    }
  report(state, l);
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"Ci", "Co", "H"})->Unit(benchmark::kMillisecond);
  for (auto [ci, co, h] : {std::array{3, 16, 32}, {16, 16, 32}, {32, 32, 16}, {64, 64, 8}, {64, 64, 32}})
    b->Args({ci, co, h});
}
BENCHMARK(conv_forward)->Apply(shapes);
BENCHMARK(conv_data_gradient)->Apply(shapes);
BENCHMARK(conv_weight_gradient)->Apply(shapes);
BENCHMARK(conv_forward_eigen_im2col)->Apply(shapes);

}  // namespace
