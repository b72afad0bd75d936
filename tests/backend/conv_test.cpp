#include "backend/reference.hpp"

using namespace test;

namespace {

struct Case {
  Conv2dGeometry geometry;
  Shape<4> x;
  index_t channels_out;
};

/// Calls f(x index, w index, y index) for every product that a convolution sums.
template <class F>
void each_tap(const Conv2dGeometry& g, Shape<4> x, Shape<4> w, Shape<4> y, F&& f) {
  const index_t cg = w[2], og = w[3] / g.groups;
  for (index_t n = 0; n < y[0]; ++n)
    for (index_t r = 0; r < y[1]; ++r)
      for (index_t c = 0; c < y[2]; ++c)
        for (index_t kh = 0; kh < g.kernel_h; ++kh)
          for (index_t kw = 0; kw < g.kernel_w; ++kw) {
            const index_t h = r * g.stride + kh - g.padding, v = c * g.stride + kw - g.padding;
            if (h < 0 || h >= x[1] || v < 0 || v >= x[2]) continue;
            for (index_t group = 0; group < g.groups; ++group)
              for (index_t i = 0; i < cg; ++i)
                for (index_t o = 0; o < og; ++o)
                  f(static_cast<std::size_t>(((n * x[1] + h) * x[2] + v) * x[3] + group * cg + i),
                    static_cast<std::size_t>(((kh * g.kernel_w + kw) * cg + i) * w[3] + group * og + o),
                    static_cast<std::size_t>(((n * y[1] + r) * y[2] + c) * y[3] + group * og + o));
          }
}

template <class T>
void check_conv(const Case& test_case, Cpu& cpu) {
  const Conv2dGeometry& g = test_case.geometry;
  const Shape<4> xs = test_case.x;
  const index_t co = test_case.channels_out;
  const Shape<4> ws{g.kernel_h, g.kernel_w, xs[3] / g.groups, co}, ys = g.output(xs, co);
  const auto x = random<T, 4>(xs, 1), w = random<T, 4>(ws, 2), dy = random<T, 4>(ys, 3);
  const auto bias = random<T, 1>(Shape{co}, 4);
  const auto X = to_double(x), W = to_double(w), DY = to_double(dy);
  CAPTURE(to_string(xs));
  CAPTURE(to_string(ws));
  CAPTURE(g.stride);
  CAPTURE(g.padding);
  CAPTURE(g.groups);
  CAPTURE(cpu.threads());
  for (bool second : {false, true}) {  // plain and replacing; then with bias, ReLU and adding
    const Write write = second ? Write::add : Write::replace;
    const T junk = second ? T(0.5) : std::numeric_limits<T>::quiet_NaN();
    const double start = second ? 0.5 : 0.0;

    Tensor<T, 4> y(ys), dx(xs), dw(ws);
    for (T& v : y) v = std::numeric_limits<T>::quiet_NaN();
    for (T& v : dx) v = junk;
    for (T& v : dw) v = junk;

    std::vector<double> expected(static_cast<std::size_t>(y.size()));
    for (std::size_t i = 0; second && i < expected.size(); ++i)
      expected[i] = static_cast<double>(bias(static_cast<index_t>(i) % co));
    each_tap(g, xs, ws, ys, [&](auto i, auto j, auto k) { expected[k] += X[i] * W[j]; });
    if (second)
      for (double& v : expected) v = std::max(v, 0.0);
    K::conv2d_forward(cpu, g, x, w, second ? bias.data() : nullptr, y.view(), second ? Epilogue::relu : Epilogue::none);
    CHECK(deviation(y, expected) < tolerance<T>(ws[0] * ws[1] * ws[2]));

    expected.assign(static_cast<std::size_t>(x.size()), start);
    each_tap(g, xs, ws, ys, [&](auto i, auto j, auto k) { expected[i] += DY[k] * W[j]; });
    K::conv2d_backward_data(cpu, g, dy, w, dx.view(), write);
    CHECK(deviation(dx, expected) < tolerance<T>(ws[0] * ws[1] * ws[3]));

    expected.assign(static_cast<std::size_t>(w.size()), start);
    each_tap(g, xs, ws, ys, [&](auto i, auto j, auto k) { expected[j] += DY[k] * X[i]; });
    K::conv2d_backward_weights(cpu, g, x, dy, dw.view(), write);
    CHECK(deviation(dw, expected) < tolerance<T>(ys[0] * ys[1] * ys[2]));
  }
}

const Case cases[] = {
    {{}, {2, 8, 8, 16}, 16},                                                       // the hot case, whole tiles
    {{}, {3, 32, 32, 3}, 16},                                                      // the first layer
    {{}, {2, 7, 5, 32}, 32},                                                       // tails in both directions
    {{}, {1, 9, 13, 20}, 40},                                                      // channel tails
    {{}, {5, 6, 6, 5}, 7},                                                         // everything odd
    {{}, {1, 3, 3, 1}, 1},
    {{}, {1, 1, 1, 4}, 6},                                                         // one pixel, all border
    {{}, {2, 4, 70, 8}, 48},                                                       // wide rows
    {{}, {2, 4, 8, 20}, 64},                                                       // tiles of three vectors, channel tails
    {{.stride = 2}, {1, 8, 8, 24}, 28},
    {{.kernel_h = 1, .kernel_w = 1, .padding = 0}, {2, 6, 5, 12}, 20},             // pointwise
    {{.kernel_h = 1, .kernel_w = 1, .stride = 2, .padding = 0}, {2, 7, 7, 8}, 16}, // residual shortcut
    {{.stride = 2}, {2, 9, 9, 6}, 10},
    {{.stride = 2}, {2, 8, 8, 16}, 32},                                            // last input row unused
    {{.kernel_h = 5, .kernel_w = 3, .stride = 3, .padding = 2}, {2, 11, 10, 4}, 5},
    {{.kernel_h = 2, .kernel_w = 2, .stride = 3, .padding = 0}, {1, 9, 9, 3}, 4},  // stride beyond the kernel
    {{.kernel_h = 5, .kernel_w = 5, .padding = 0}, {2, 8, 8, 3}, 6},
    {{.kernel_h = 1, .kernel_w = 1, .padding = 1}, {1, 3, 4, 2}, 3},               // padding beyond the kernel's reach
    {{.groups = 2}, {2, 6, 6, 8}, 12},
    {{.stride = 2, .groups = 3}, {1, 7, 6, 6}, 9},
    {{.groups = 20}, {2, 7, 9, 20}, 20},                                           // depthwise
    {{.stride = 2, .groups = 33}, {2, 8, 8, 33}, 33},
    {{.kernel_h = 5, .kernel_w = 5, .padding = 2, .groups = 16}, {1, 6, 6, 16}, 16},
    {{.groups = 4}, {2, 5, 5, 4}, 8},                                              // depthwise with a multiplier
};

}  // namespace

TEST_CASE_TEMPLATE("conv2d and its two gradients equal plain loops", T, float, double) {
  Cpu one, two(2);
  for (const Case& c : cases) {
    check_conv<T>(c, one);
    check_conv<T>(c, two);
  }
}

TEST_CASE("conv2d is bit-identical from run to run at a fixed thread count") {
  Cpu a(2), b(2);
  const Conv2dGeometry g;
  const auto x = random<float, 4>(Shape{5, 8, 8, 16}, 1), dy = random<float, 4>(Shape{5, 8, 8, 16}, 2);
  Tensor<float, 4> first(Shape{3, 3, 16, 16}), second(Shape{3, 3, 16, 16});
  K::conv2d_backward_weights(a, g, x, dy, first.view(), Write::replace);
  K::conv2d_backward_weights(b, g, x, dy, second.view(), Write::replace);
  CHECK(std::equal(first.begin(), first.end(), second.begin()));
}

TEST_CASE("conv2d rejects what does not fit") {
  Cpu cpu;
  Tensor<float, 4> x(Shape{1, 4, 4, 3}), w(Shape{3, 3, 2, 8}), y(Shape{1, 4, 4, 8});
  try {
    K::conv2d_forward(cpu, {}, x, w, nullptr, y.view());
    FAIL("expected shape_error");
  } catch (const shape_error& e) {
    CHECK(std::string(e.what()).find("(3, 3, 2, 8)") != std::string::npos);
    CHECK(std::string(e.what()).find("(3, 3, 3, 8)") != std::string::npos);
  }
  Tensor<float, 4> fits(Shape{3, 3, 3, 8});
  CHECK_THROWS_AS(K::conv2d_forward(cpu, {.stride = 0}, x, fits, nullptr, y.view()), value_error);
  CHECK_THROWS_AS(K::conv2d_forward(cpu, {.padding = 0}, x, fits, nullptr, y.view()), shape_error);
  CHECK_THROWS_AS(K::conv2d_forward(cpu, {.groups = 2}, x, fits, nullptr, y.view()), shape_error);
  Tensor<float, 4> tiny(Shape{1, 1, 1, 3}), out(Shape{1, 1, 1, 8});
  CHECK_THROWS_AS(K::conv2d_forward(cpu, {.padding = 0}, tiny, fits, nullptr, out.view()), shape_error);
}

TEST_CASE("conv2d of an empty batch writes zero weight gradients and touches nothing else") {
  Cpu cpu;
  Tensor<float, 4> x(Shape{0, 4, 4, 3}), w(Shape{3, 3, 3, 8}), y(Shape{0, 4, 4, 8});
  for (float& v : w) v = 7;
  K::conv2d_forward(cpu, {}, x, w, nullptr, y.view());
  K::conv2d_backward_data(cpu, {}, y, w, x.view(), Write::replace);
  K::conv2d_backward_weights(cpu, {}, x, y, w.view(), Write::add);
  CHECK(w(0, 0, 0, 0) == 7);
  K::conv2d_backward_weights(cpu, {}, x, y, w.view(), Write::replace);
  CHECK(w(0, 0, 0, 0) == 0);
}
