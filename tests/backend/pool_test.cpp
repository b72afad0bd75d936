#include "backend/reference.hpp"

using namespace test;

namespace {

struct Case {
  PoolGeometry geometry;
  Shape<4> x;
};
const Case cases[] = {{{}, {2, 8, 8, 16}},      {{}, {3, 7, 9, 5}},          {{}, {1, 2, 2, 1}},
                      {{3, 2, 1}, {2, 8, 9, 33}}, {{3, 1, 1}, {2, 5, 6, 20}}, {{2, 3, 0}, {1, 8, 8, 18}},
                      {{3, 3, 2}, {2, 6, 5, 4}}};

template <class F>
void each_output(const PoolGeometry& g, Shape<4> x, F&& f) {
  const Shape<4> y = g.output(x);
  index_t at = 0;
  for (index_t n = 0; n < y[0]; ++n)
    for (index_t r = 0; r < y[1]; ++r)
      for (index_t q = 0; q < y[2]; ++q)
        for (index_t c = 0; c < y[3]; ++c, ++at) {
          std::vector<std::size_t> taps;  // flat indices into x
          for (index_t h = r * g.stride - g.padding; h < r * g.stride - g.padding + g.kernel; ++h)
            for (index_t w = q * g.stride - g.padding; w < q * g.stride - g.padding + g.kernel; ++w)
              if (h >= 0 && h < x[1] && w >= 0 && w < x[2])
                taps.push_back(static_cast<std::size_t>(((n * x[1] + h) * x[2] + w) * x[3] + c));
          f(static_cast<std::size_t>(at), taps);
        }
}

}  // namespace

TEST_CASE_TEMPLATE("max pooling: values, first maximum on ties, replay and gradient", T, float, double) {
  Cpu one, two(2);
  for (Cpu* cpu : {&one, &two})
    for (const Case& test_case : cases) {
      const PoolGeometry& g = test_case.geometry;
      const Shape<4>& xs = test_case.x;
      auto x = random<T, 4>(xs, 1);
      for (T& v : x) v = std::round(v * 2);  // plenty of ties
      const auto other = random<T, 4>(xs, 2), dy = random<T, 4>(g.output(xs), 3);
      Tensor<T, 4> y(g.output(xs)), again(g.output(xs)), replayed(g.output(xs));
      std::vector<std::int32_t> index(static_cast<std::size_t>(y.size()));
      K::max_pool_forward(*cpu, g, x, y.view(), index.data());
      K::max_pool_forward(*cpu, g, x, again.view(), nullptr);
      K::max_pool_forward_replay(*cpu, g, other, replayed.view(), index.data());
      CAPTURE(to_string(xs));
      CAPTURE(g.kernel);
      CHECK(std::equal(y.begin(), y.end(), again.begin()));

      std::vector<double> gradient(static_cast<std::size_t>(x.size()), 0.25);
      int wrong = 0;
      each_output(g, xs, [&](std::size_t at, const std::vector<std::size_t>& taps) {
        std::size_t best = taps[0];
        for (std::size_t t : taps)
          if (x.data()[t] > x.data()[best]) best = t;
        const auto pixel = static_cast<index_t>(best) / xs[3] % (xs[1] * xs[2]);
        wrong += y.data()[at] != x.data()[best] || index[at] != pixel || replayed.data()[at] != other.data()[best];
        gradient[best] += static_cast<double>(dy.data()[at]);
      });
      CHECK(wrong == 0);

      Tensor<T, 4> dx(xs), fresh(xs);
      for (T& v : dx) v = T(0.25);
      for (T& v : fresh) v = std::numeric_limits<T>::quiet_NaN();
      K::max_pool_backward(*cpu, g, dy, index.data(), dx.view(), Write::add);
      K::max_pool_backward(*cpu, g, dy, index.data(), fresh.view(), Write::replace);
      CHECK(deviation(dx, gradient) < tolerance<T>(9));
      for (double& v : gradient) v -= 0.25;
      CHECK(deviation(fresh, gradient) < tolerance<T>(9));
    }
}

TEST_CASE("max pooling of minus infinity stays inside the window") {
  Cpu cpu;
  Tensor<float, 4> x(Shape{1, 2, 2, 20}), y(Shape{1, 1, 1, 20});
  for (float& v : x) v = -std::numeric_limits<float>::infinity();
  std::vector<std::int32_t> index(20, -1);
  K::max_pool_forward(cpu, {}, x, y.view(), index.data());
  for (int c = 0; c < 20; ++c) CHECK(index[static_cast<std::size_t>(c)] == 0);
}

TEST_CASE_TEMPLATE("average pooling and its gradient equal plain loops", T, float, double) {
  Cpu one, two(2);
  for (Cpu* cpu : {&one, &two})
    for (const Case& test_case : cases) {
      const PoolGeometry& g = test_case.geometry;
      const Shape<4>& xs = test_case.x;
      const auto x = random<T, 4>(xs, 1), dy = random<T, 4>(g.output(xs), 2);
      std::vector<double> expected(static_cast<std::size_t>(dy.size())), gradient(static_cast<std::size_t>(x.size()));
      each_output(g, xs, [&](std::size_t at, const std::vector<std::size_t>& taps) {
        for (std::size_t t : taps) {
          expected[at] += static_cast<double>(x.data()[t]) / static_cast<double>(taps.size());
          gradient[t] += static_cast<double>(dy.data()[at]) / static_cast<double>(taps.size());
        }
      });
      Tensor<T, 4> y(g.output(xs)), dx(xs);
      for (T& v : dx) v = std::numeric_limits<T>::quiet_NaN();
      K::average_pool_forward(*cpu, g, x, y.view());
      K::average_pool_backward(*cpu, g, dy, dx.view(), Write::replace);
      CHECK(deviation(y, expected) < tolerance<T>(9));
      CHECK(deviation(dx, gradient) < tolerance<T>(9));
      K::average_pool_backward(*cpu, g, dy, dx.view(), Write::add);
      for (double& v : gradient) v *= 2;
      CHECK(deviation(dx, gradient) < tolerance<T>(9));
    }
}

TEST_CASE_TEMPLATE("global average pooling and its gradient equal plain loops", T, float, double) {
  Cpu one, two(2);
  for (Cpu* cpu : {&one, &two})
    for (Shape<4> s : {Shape{3, 8, 8, 16}, Shape{2, 5, 3, 37}, Shape{1, 1, 1, 1}}) {
      const auto x = random<T, 4>(s, 1);
      const auto dy = random<T, 2>(Shape{s[0], s[3]}, 2);
      std::vector<double> expected(static_cast<std::size_t>(dy.size())), gradient;
      const index_t pixels = s[1] * s[2];
      for (index_t i = 0; i < x.size(); ++i) {
        const index_t at = i / s.row_size() * s[3] + i % s[3];
        expected[static_cast<std::size_t>(at)] += static_cast<double>(x.data()[i]) / static_cast<double>(pixels);
        gradient.push_back(static_cast<double>(dy.data()[at]) / static_cast<double>(pixels));
      }
      Tensor<T, 2> y(Shape{s[0], s[3]});
      Tensor<T, 4> dx(s);
      for (T& v : dx) v = std::numeric_limits<T>::quiet_NaN();
      K::global_average_pool_forward(*cpu, x, y.view());
      K::global_average_pool_backward(*cpu, dy, dx.view(), Write::replace);
      CHECK(deviation(y, expected) < tolerance<T>(1));
      CHECK(deviation(dx, gradient) < tolerance<T>(1));
      K::global_average_pool_backward(*cpu, dy, dx.view(), Write::add);
      for (double& v : gradient) v *= 2;
      CHECK(deviation(dx, gradient) < tolerance<T>(1));
    }
}

TEST_CASE_TEMPLATE("nearest upsampling and its gradient equal plain loops", T, float, double) {
  Cpu one, two(2);
  for (Cpu* cpu : {&one, &two})
    for (int factor : {1, 2, 3}) {
      const Shape<4> s{2, 3, 5, 19}, big{2, 3 * factor, 5 * factor, 19};
      const auto x = random<T, 4>(s, 1), dy = random<T, 4>(big, 2);
      std::vector<double> expected(static_cast<std::size_t>(big.size())), gradient(static_cast<std::size_t>(s.size()));
      index_t at = 0;
      for (index_t n = 0; n < big[0]; ++n)
        for (index_t h = 0; h < big[1]; ++h)
          for (index_t w = 0; w < big[2]; ++w)
            for (index_t c = 0; c < big[3]; ++c, ++at) {
              const auto from = static_cast<std::size_t>(((n * s[1] + h / factor) * s[2] + w / factor) * s[3] + c);
              expected[static_cast<std::size_t>(at)] = static_cast<double>(x.data()[from]);
              gradient[from] += static_cast<double>(dy.data()[at]);
            }
      Tensor<T, 4> y(big), dx(s);
      for (T& v : dx) v = std::numeric_limits<T>::quiet_NaN();
      K::upsample_nearest_forward(*cpu, factor, x, y.view());
      K::upsample_nearest_backward(*cpu, factor, dy, dx.view(), Write::replace);
      CHECK(deviation(y, expected) == 0);
      CHECK(deviation(dx, gradient) < tolerance<T>(9));
      K::upsample_nearest_backward(*cpu, factor, dy, dx.view(), Write::add);
      for (double& v : gradient) v *= 2;
      CHECK(deviation(dx, gradient) < tolerance<T>(9));
    }
}

TEST_CASE("pooling rejects what does not fit") {
  Cpu cpu;
  Tensor<float, 4> x(Shape{1, 4, 4, 3}), y(Shape{1, 2, 2, 2}), tiny(Shape{1, 1, 1, 3});
  Tensor<float, 2> z(Shape{1, 2});
  CHECK_THROWS_AS(K::max_pool_forward(cpu, {}, x, y.view(), nullptr), shape_error);
  CHECK_THROWS_AS(K::average_pool_forward(cpu, {.kernel = 2, .padding = 2}, x, y.view()), value_error);
  CHECK_THROWS_AS(K::average_pool_forward(cpu, {}, tiny, y.view()), shape_error);
  CHECK_THROWS_AS(K::global_average_pool_forward(cpu, x, z.view()), shape_error);
  CHECK_THROWS_AS(K::upsample_nearest_forward(cpu, 0, x, y.view()), value_error);
}
