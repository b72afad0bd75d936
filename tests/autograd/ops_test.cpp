// Every differentiable operation against fourth-order central differences in double.
#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/autograd/ops_nn.hpp>
#include <retort/backend/cpu_kernels.hpp>

#include "support.hpp"

using namespace retort;
using test::randn;
constexpr double limit = test::tolerance<double>::gradient;

namespace {
// A scalar that weighs every entry differently, so that a wrong position cannot hide.
template <class T, class B, int R>
Var<T, 1> weigh(Tape<T, B>& tape, Var<T, R> y) {
  const View<T, R> w = tape.allocate(y.shape());
  for (index_t i = 0; i < w.size(); ++i) w.data[i] = std::sin(T(0.7) * static_cast<T>(i) + T(0.3));
  return sum(tape, multiply(tape, y, tape.constant(w)));
}
}  // namespace

#define CHECK_GRADIENT(f, ...)                                                                            \
  do {                                                                                                    \
    const GradCheckReport r = grad_check(cpu, f, __VA_ARGS__);                                            \
    INFO("input ", r.input, " entry ", r.entry, " analytic ", r.analytic, " numeric ", r.numeric);        \
    CHECK(r.error < limit);                                                                               \
  } while (0)

TEST_CASE("arithmetic and broadcasting") {
  Cpu cpu;
  auto a = randn(Shape{3, 4}, 1), b = randn(Shape{3, 4}, 2), row = randn(Shape{1, 4}, 3), column = randn(Shape{3, 1}, 4);
  for (auto& x : b) x = 2 + std::abs(x);
  for (auto& x : row) x = 2 + std::abs(x);
  for (auto& x : column) x = 2 + std::abs(x);
  auto each = [&](auto& x, auto& y) {
    CHECK_GRADIENT([](auto& t, auto p, auto q) { return weigh(t, add(t, p, q)); }, x, y);
    CHECK_GRADIENT([](auto& t, auto p, auto q) { return weigh(t, subtract(t, p, q)); }, x, y);
    CHECK_GRADIENT([](auto& t, auto p, auto q) { return weigh(t, multiply(t, p, q)); }, x, y);
    CHECK_GRADIENT([](auto& t, auto p, auto q) { return weigh(t, divide(t, p, q)); }, x, y);
  };
  each(a, b);
  each(a, row);
  each(a, column);
  each(row, column);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, multiply(t, p, p)); }, a);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, scale(t, -2.5, p)); }, a);
}

TEST_CASE("shape operations and reductions") {
  Cpu cpu;
  auto x = randn(Shape{2, 3, 4}, 5), y = randn(Shape{2, 3, 2}, 6);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, reshape(t, p, Shape{6, 4})); }, x);
  CHECK_GRADIENT([](auto& t, auto p, auto q) { return weigh(t, concat(t, p, q)); }, x, y);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, slice(t, p, 1, 3)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return add(t, weigh(t, slice(t, p, 0, 2)), weigh(t, p)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return mean(t, multiply(t, p, p)); }, x);
  for (int axis = 0; axis < 3; ++axis)
    CHECK_GRADIENT([axis](auto& t, auto p) { return weigh(t, multiply(t, p, mean_axis(t, p, axis))); }, x);
  auto table = randn(Shape{5, 3}, 7);
  const std::int32_t index[] = {4, 0, 4, 2};
  CHECK_GRADIENT([&](auto& t, auto p) { return weigh(t, gather_rows(t, p, View<const std::int32_t, 1>{index, {4}})); }, table);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, dropout(t, p, 0.4f, Rng(3))); }, x);
}

TEST_CASE("activations") {
  Cpu cpu;
  auto x = randn(Shape{5, 7}, 8, 2.0);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, activate(t, functor::Relu{}, p)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, activate(t, functor::LeakyRelu{0.2f}, p)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, activate(t, functor::Gelu{}, p)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, activate(t, functor::Tanh{}, p)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, activate(t, functor::Sigmoid{}, p)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, activate(t, functor::Silu{}, p)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, softmax(t, p)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, log_softmax(t, p)); }, x);
}

TEST_CASE("linear and matmul") {
  Cpu cpu;
  auto x = randn(Shape{4, 5}, 9), w = randn(Shape{5, 3}, 10);
  auto b = randn(Shape{3}, 11);
  CHECK_GRADIENT([](auto& t, auto p, auto q, auto r) { return weigh(t, linear(t, p, q, r)); }, x, w, b);
  CHECK_GRADIENT([](auto& t, auto p, auto q, auto r) { return weigh(t, linear(t, p, q, r, Epilogue::relu)); }, x, w, b);
  CHECK_GRADIENT([](auto& t, auto p, auto q) { return weigh(t, linear(t, p, q, no_bias<double>())); }, x, w);
  CHECK_GRADIENT([](auto& t, auto p, auto q) { return weigh(t, matmul(t, p, q)); }, x, w);
}

TEST_CASE("convolution: strides, padding, groups, depthwise") {
  Cpu cpu;
  struct Case {
    index_t in, out;
    Conv2dGeometry g;
  };
  for (const Case& c : {Case{3, 4, {3, 3, 1, 1, 1}}, Case{4, 6, {3, 3, 2, 1, 2}}, Case{4, 4, {3, 3, 1, 1, 4}},
                        Case{2, 3, {1, 1, 1, 0, 1}}, Case{2, 3, {5, 5, 1, 2, 1}}, Case{2, 2, {2, 3, 2, 0, 1}}}) {
    auto x = randn(Shape{2, 6, 5, c.in}, 12);
    auto w = randn(Shape<4>{c.g.kernel_h, c.g.kernel_w, c.in / c.g.groups, c.out}, 13, 0.5);
    auto b = randn(Shape{c.out}, 14);
    const auto g = c.g;
    CAPTURE(g.groups);
    CAPTURE(g.stride);
    CHECK_GRADIENT([g](auto& t, auto p, auto q, auto r) { return weigh(t, conv2d(t, g, p, q, r)); }, x, w, b);
    CHECK_GRADIENT([g](auto& t, auto p, auto q, auto r) { return weigh(t, conv2d(t, g, p, q, r, Epilogue::relu)); }, x, w, b);
  }
}

TEST_CASE("batch norm in all three modes, with and without the fused ReLU") {
  Cpu cpu;
  auto x = randn(Shape{3, 2, 2, 4}, 15, 1.5), gamma4 = randn(Shape{1, 1, 1, 4}, 16);
  auto gamma = randn(Shape{4}, 17), beta = randn(Shape{4}, 18), mean0 = randn(Shape{4}, 19), var0 = randn(Shape{4}, 20);
  for (auto& v : var0) v = 0.5 + std::abs(v);
  for (BatchStatistics mode : {BatchStatistics::batch, BatchStatistics::running})
    for (Epilogue e : {Epilogue::none, Epilogue::relu})
      CHECK_GRADIENT([&](auto& t, auto p, auto g, auto b) {
        return weigh(t, batch_norm(t, p, g, b, mean0.view(), var0.view(), 0.1, 1e-5, mode, e));
      }, x, gamma, beta);
  // The fused form is the one that runs in training; compare it with the unfused one directly.
  Tape<double, Cpu> tape(cpu);
  auto gradients = [&](Epilogue e) {
    tape.reset();
    auto p = tape.leaf(View<const double, 4>(x.view()));
    auto g = tape.leaf(View<const double, 1>(gamma.view())), b = tape.leaf(View<const double, 1>(beta.view()));
    auto y = batch_norm(tape, p, g, b, mean0.view(), var0.view(), 0.1, 1e-5, BatchStatistics::batch, e);
    if (e == Epilogue::none) y = activate(tape, functor::Relu{}, y);
    tape.backward(weigh(tape, y));
    std::vector<double> out(tape.gradient(p).begin(), tape.gradient(p).end());
    out.insert(out.end(), tape.gradient(g).begin(), tape.gradient(g).end());
    out.insert(out.end(), tape.gradient(b).begin(), tape.gradient(b).end());
    return out;
  };
  const auto fused = gradients(Epilogue::relu), plain = gradients(Epilogue::none);
  for (std::size_t i = 0; i < fused.size(); ++i) CHECK(fused[i] == doctest::Approx(plain[i]).epsilon(1e-12));

  // update mode moves the running statistics by the momentum; the unbiased variance goes in
  Tensor<double, 1> m(Shape{4}), v(Shape{4});
  tape.reset();
  batch_norm(tape, tape.constant(x.view()), tape.constant(gamma.view()), tape.constant(beta.view()), m.view(), v.view(), 0.1,
             1e-5, BatchStatistics::update);
  for (index_t c = 0; c < 4; ++c) {
    double mu = 0, s = 0;
    for (index_t i = 0; i < 12; ++i) mu += x.data()[i * 4 + c] / 12;
    for (index_t i = 0; i < 12; ++i) s += (x.data()[i * 4 + c] - mu) * (x.data()[i * 4 + c] - mu) / 11;
    CHECK(m(c) == doctest::Approx(0.1 * mu));
    CHECK(v(c) == doctest::Approx(0.1 * s));
  }
  Tensor<double, 4> single(Shape{1, 1, 1, 4});
  CHECK_THROWS_WITH_AS(batch_norm(tape, tape.constant(single.view()), tape.constant(gamma.view()), tape.constant(beta.view()),
                                  m.view(), v.view(), 0.1, 1e-5, BatchStatistics::update),
                       "batch_norm: training needs more than one value per channel, got input of shape (1, 1, 1, 4); use a "
                       "larger batch or evaluation mode (source::Dataset::drop_last leaves out a last batch of one)",
                       value_error);
}

TEST_CASE("pooling and upsampling") {
  Cpu cpu;
  auto x = randn(Shape{2, 6, 6, 3}, 21);
  for (PoolGeometry g : {PoolGeometry{2, 2, 0}, PoolGeometry{3, 2, 1}, PoolGeometry{3, 1, 1}}) {
    CHECK_GRADIENT([g](auto& t, auto p) { return weigh(t, max_pool(t, g, p)); }, x);
    CHECK_GRADIENT([g](auto& t, auto p) { return weigh(t, average_pool(t, g, p)); }, x);
  }
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, global_average_pool(t, p)); }, x);
  CHECK_GRADIENT([](auto& t, auto p) { return weigh(t, upsample_nearest(t, 2, p)); }, x);
}

TEST_CASE("a wrong gradient is found") {  // grad_check itself can fail
  Cpu cpu;
  auto x = randn(Shape{3}, 22);
  const auto r = grad_check(cpu, [](auto& t, auto p) { return sum(t, multiply(t, p, t.detach(p))); }, x);
  CHECK(r.error > 0.1);
}

TEST_CASE("no_grad, detach and accumulation over uses") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  auto x = randn(Shape{4}, 23);
  auto p = tape.leaf(View<const double, 1>(x.view()));
  {
    NoGrad off(tape);
    CHECK_FALSE(multiply(tape, p, p).requires_grad());
  }
  CHECK(tape.records() == 0);
  tape.backward(add(tape, sum(tape, p), sum(tape, scale(tape, 3.0, p))));
  for (double g : tape.gradient(p)) CHECK(g == doctest::Approx(4));
}

TEST_CASE("mismatched shapes name both") {
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  Tensor<float, 2> a(Shape{2, 3}), b(Shape{2, 4});
  CHECK_THROWS_WITH_AS(add(tape, tape.constant(a.view()), tape.constant(b.view())),
                       "add: shapes (2, 3) and (2, 4) do not broadcast: axis 1 has extents 3 and 4", shape_error);
  CHECK_THROWS_WITH_AS(linear(tape, tape.constant(a.view()), tape.constant(b.view()), no_bias<float>()),
                       "linear: input of shape (2, 3), weights of shape (2, 4): the input must have 2 columns", shape_error);
}
