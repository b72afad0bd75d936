// Resizing and rearranging maps: adaptive pooling, nearest neighbours, transposed convolution, channel shuffling.
#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/autograd/ops_nn.hpp>
#include <retort/backend/cpu_kernels.hpp>

#include "support.hpp"

using namespace retort;
using test::randn;

namespace {

template <class F>
void check_gradient(F&& f, Tensor<double, 4>& x) {
  Cpu cpu;
  const auto weighed = [&](auto& tape, auto p) {
    const auto y = f(tape, p);
    const auto w = randn(y.shape(), 9);
    double* kept = tape.template allocate_raw<double>(y.size());
    std::copy(w.begin(), w.end(), kept);
    return sum(tape, multiply(tape, multiply(tape, y, y), tape.constant(View<const double, 4>{kept, y.shape()})));
  };
  const auto r = grad_check(cpu, weighed, x);
  INFO("entry ", r.entry, " analytic ", r.analytic, " numeric ", r.numeric);
  CHECK(r.error < test::tolerance<double>::gradient);
}

}  // namespace

TEST_CASE("adaptive average pooling: windows from floor to ceiling, as PyTorch has them") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Tensor<double, 4> x(Shape{1, 5, 3, 1});
  for (index_t i = 0; i < 15; ++i) x.data()[i] = static_cast<double>(i * i);
  const auto y = adaptive_average_pool(tape, tape.constant(x.view()), 2, 2);
  for (index_t r = 0; r < 2; ++r)
    for (index_t c = 0; c < 2; ++c) {
      double total = 0;
      for (index_t h = 2 * r; h < 2 * r + 3; ++h)  // rows 0-2 and 2-4, columns 0-1 and 1-2
        for (index_t w = c; w < c + 2; ++w) total += x(0, h, w, 0);
      CHECK(y.value(0, r, c, 0) == doctest::Approx(total / 6));
    }
  CHECK_THROWS_AS(adaptive_average_pool(tape, tape.constant(x.view()), 6, 2), shape_error);
  for (index_t size : {1, 2, 4, 5}) {
    auto in = randn(Shape{2, 5, 6, 3}, 2);
    check_gradient([&](auto& t, auto p) { return adaptive_average_pool(t, p, size, size); }, in);
  }
}

TEST_CASE("nearest neighbours up and down: index floor(i H / H')") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  auto x = randn(Shape{2, 4, 3, 5}, 1);
  for (index_t h : {2, 4, 7, 8})
    for (index_t w : {2, 3, 6}) {
      const auto y = resize_nearest(tape, tape.constant(x.view()), h, w);
      for (index_t r = 0; r < h; ++r)
        for (index_t c = 0; c < w; ++c) REQUIRE(y.value(1, r, c, 4) == x(1, r * 4 / h, c * 3 / w, 4));
      check_gradient([&](auto& t, auto p) { return resize_nearest(t, p, h, w); }, x);
    }
}

TEST_CASE("a transposed convolution is the transpose of the convolution") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  struct Case {
    int kernel, stride, padding;
    index_t size;
  };
  for (const Case& k : {Case{4, 2, 1, 3}, Case{3, 1, 1, 4}, Case{3, 2, 1, 4}, Case{1, 1, 0, 3}}) {
    const Conv2dGeometry g{k.kernel, k.kernel, k.stride, k.padding};
    auto x = randn(Shape{2, k.size, k.size, 3}, 1), w = randn(Shape<4>{k.kernel, k.kernel, 2, 3}, 2);
    const auto y = transposed_conv2d(tape, g, tape.constant(x.view()), tape.constant(w.view()));
    auto z = randn(y.shape(), 3);
    const auto back = conv2d(tape, g, tape.constant(z.view()), tape.constant(w.view()), no_bias<double>());
    double left = 0, right = 0;  // <A^T x, z> = <x, A z>
    for (index_t i = 0; i < y.size(); ++i) left += y.value.data[i] * z.data()[i];
    for (index_t i = 0; i < x.size(); ++i) right += x.data()[i] * back.value.data[i];
    CHECK(left == doctest::Approx(right).epsilon(test::tolerance<double>::value));
    const auto r = grad_check(cpu,
                              [&](auto& t, auto p, auto q) {
                                const auto out = transposed_conv2d(t, g, p, q);
                                return add(t, sum(t, multiply(t, out, out)), mean(t, multiply(t, p, p)));
                              },
                              x, w);
    CHECK(r.error < test::tolerance<double>::gradient);
  }
}

TEST_CASE("channel shuffling interleaves parts, and half as many groups undo it") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  auto x = randn(Shape{2, 3, 3, 6}, 1);
  const auto y = shuffle_channels(tape, 2, tape.constant(x.view()));
  for (index_t k = 0; k < 3; ++k)
    for (index_t g = 0; g < 2; ++g) CHECK(y.value(1, 2, 0, 2 * k + g) == x(1, 2, 0, 3 * g + k));
  const auto back = shuffle_channels(tape, 3, y);
  CHECK(std::equal(x.begin(), x.end(), back.value.begin()));
  check_gradient([](auto& t, auto p) { return shuffle_channels(t, 2, p); }, x);
  CHECK_THROWS_AS(shuffle_channels(tape, 4, tape.constant(x.view())), shape_error);
}
