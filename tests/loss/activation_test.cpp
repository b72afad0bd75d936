#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <retort/backend/cpu_activation.hpp>
#include <retort/backend/cpu_softmax.hpp>
#include <retort/core/rng.hpp>
#include <vector>

using namespace retort;

namespace {

template <class T>
View<T, 1> flat(std::vector<T>& v) {
  return {v.data(), {static_cast<index_t>(v.size())}};
}

/// Values and derivatives of an activation, in packs and tails, against a reference in long double.
template <class T, class F>
void check_activation(const F& f, long double (*reference)(long double), T tolerance) {
  Cpu cpu(2);
  std::vector<T> x, dy;
  for (T v = T(-12); v <= T(12); v += T(0.0371)) x.push_back(v);
  for (T v : {T(0), T(1e-4), T(-1e-4), T(-90), T(90), T(-1e4), T(1e4)}) x.push_back(v);
  const std::size_t n = x.size();
  dy.assign(n, T(2));
  std::vector<T> y(n), dx(n, T(100));
  cpu::ActivationKernels::activation_forward(cpu, f, flat(x), flat(y));
  cpu::ActivationKernels::activation_backward(cpu, f, flat(x), flat(y), flat(dy), flat(dx), Write::add);
  for (std::size_t i = 0; i < n; ++i) {
    const long double v = x[i], h = 1e-5L;
    CAPTURE(x[i]);
    CHECK(std::abs(static_cast<double>(y[i] - reference(v))) <= tolerance * std::max(1., std::abs(static_cast<double>(v))));
    if (F::kink && std::abs(v) < 1e-3L) continue;
    const long double slope = (reference(v + h) - reference(v - h)) / (2 * h);
    CHECK(static_cast<double>((dx[i] - T(100)) / 2) == doctest::Approx(static_cast<double>(slope)).epsilon(1e-8 + 20 * tolerance));
  }
}

template <class F>
void check_both(const F& f, long double (*reference)(long double)) {
  check_activation<float>(f, reference, 4e-7f);
  check_activation<double>(f, reference, 1e-14);
}

}  // namespace

TEST_CASE("activations agree with long double references, value and derivative") {
  check_both(functor::Relu{}, +[](long double x) { return x > 0 ? x : 0.L; });
  check_both(functor::LeakyRelu{.slope = 0.125f}, +[](long double x) { return x > 0 ? x : 0.125L * x; });
  check_both(functor::Gelu{}, +[](long double x) { return x * 0.5L * erfcl(-x / sqrtl(2)); });
  check_both(functor::GeluTanh{}, +[](long double x) {
    return 0.5L * x * (1 + tanhl(0.797884560802865355879892L * (x + 0.044715L * x * x * x)));
  });
  check_both(functor::Tanh{}, +[](long double x) { return tanhl(x); });
  check_both(functor::Sigmoid{}, +[](long double x) { return 1 / (1 + expl(-x)); });
  check_both(functor::Silu{}, +[](long double x) { return x / (1 + expl(-x)); });
}

TEST_CASE("replay: a mask decides the branch of a kinked activation, not the sign") {
  Cpu cpu;
  std::vector<float> x(37), y(37), dx(37), dy(37, 1.f);
  std::vector<std::uint8_t> mask(37), kink(37);
  Rng rng(3);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal()), mask[i] = i % 3 == 0;
  const functor::LeakyRelu f{.slope = 0.1f};
  cpu::ActivationKernels::activation_forward_masked(cpu, f, flat(x), flat(y), mask.data());
  cpu::ActivationKernels::activation_backward(cpu, f, flat(x), flat(y), flat(dy), flat(dx), Write::replace, mask.data());
  cpu::ActivationKernels::kink_mask(cpu, as_const(flat(x)), kink.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    CHECK(y[i] == (mask[i] ? x[i] : 0.1f * x[i]));
    CHECK(dx[i] == (mask[i] ? 1.f : 0.1f));
    CHECK(kink[i] == (x[i] > 0 ? 1 : 0));
  }
}

TEST_CASE("softmax and log-softmax: values, gradients, extreme rows, threads") {
  for (index_t width : {1, 2, 15, 16, 17, 100}) {
    Cpu cpu(3);
    const index_t n = 7;
    std::vector<double> x(static_cast<std::size_t>(n * width)), p(x), lp(x), dy(x), dx(x), dlx(x);
    Rng rng(static_cast<std::uint64_t>(width));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 3 * rng.normal(), dy[i] = rng.normal();
    for (index_t c = 0; c < width; ++c) x[static_cast<std::size_t>(c)] = c % 2 ? 1e4 : -1e4;
    const auto m = [&](std::vector<double>& v) { return View<double, 2>{v.data(), {n, width}}; };
    using K = cpu::SoftmaxKernels;
    K::softmax_forward(cpu, m(x), m(p));
    K::log_softmax_forward(cpu, m(x), m(lp));
    K::softmax_backward(cpu, m(p), m(dy), m(dx), Write::replace);
    std::fill(dlx.begin(), dlx.end(), 5.);
    K::log_softmax_backward(cpu, m(lp), m(dy), m(dlx), Write::add);
    for (index_t r = 0; r < n; ++r) {
      double top = -1e300, total = 0, dot = 0, sum = 0;
      for (index_t c = 0; c < width; ++c) top = std::max(top, m(x)(r, c));
      for (index_t c = 0; c < width; ++c) total += std::exp(m(x)(r, c) - top);
      for (index_t c = 0; c < width; ++c) {
        const double q = std::exp(m(x)(r, c) - top) / total;
        CHECK(m(p)(r, c) == doctest::Approx(q).epsilon(1e-12));
        CHECK(m(lp)(r, c) == doctest::Approx(m(x)(r, c) - top - std::log(total)).epsilon(1e-12));
        dot += q * m(dy)(r, c), sum += m(dy)(r, c);
      }
      for (index_t c = 0; c < width; ++c) {
        const double q = std::exp(m(x)(r, c) - top) / total;
        CHECK(std::abs(m(dx)(r, c) - q * (m(dy)(r, c) - dot)) < 1e-12);
        CHECK(std::abs(m(dlx)(r, c) - 5 - (m(dy)(r, c) - q * sum)) < 1e-12);
      }
    }
  }
}
