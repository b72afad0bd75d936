// The polynomials of simd_math.hpp against <cmath> in double, over their whole ranges.

#include <doctest/doctest.h>

#include <cmath>
#include <retort/backend/simd_math.hpp>

using namespace retort;
using P = simd::Native<float>;

namespace {

/// Largest relative error of f against `exact` at every `stride`-th float in [from, to], both of one sign.
template <class F, class Exact>
double worst_error(float from, float to, std::uint32_t stride, F f, Exact exact) {
  std::uint32_t first, last;
  std::memcpy(&first, &from, sizeof(first));
  std::memcpy(&last, &to, sizeof(last));
  double worst = 0;
  alignas(P) float x[P::lanes], y[P::lanes];
  for (std::uint32_t at = first; at <= last - stride * P::lanes; at += stride * P::lanes) {
    for (int l = 0; l < P::lanes; ++l) {
      const std::uint32_t bits = at + stride * static_cast<std::uint32_t>(l);
      std::memcpy(&x[l], &bits, sizeof(bits));
    }
    f(P::load(x)).store(y);
    for (int l = 0; l < P::lanes; ++l) {
      const double want = exact(static_cast<double>(x[l]));
      worst = std::max(worst, std::abs(static_cast<double>(y[l]) - want) / std::abs(want));
    }
  }
  return worst;
}
constexpr double documented = 3e-7, documented_cdf = 6e-7;  // simd_math.hpp

}  // namespace

TEST_CASE("log is within 3e-7 of the true one, relative, over all normal numbers and around one, where it vanishes") {
  const auto log = [](P x) { return simd::log(x); };
  const auto exact = [](double x) { return std::log(x); };
  CHECK(worst_error(1.1754944e-38f, 3e38f, 3001, log, exact) < documented);
  CHECK(worst_error(0.5f, 0.99999f, 37, log, exact) < documented);
  CHECK(worst_error(1.00001f, 2.f, 37, log, exact) < documented);
  CHECK(simd::log(P(1.f)).sum() == 0);
}

TEST_CASE("exp, the exponential of softmaxes, tanh and the normal distribution function are as near as they say") {
  const auto exact_exp = [](double x) { return std::exp(x); };
  const auto exp = [](P x) { return simd::exp(x); };
  CHECK(worst_error(1e-6f, 2.f, 1009, exp, exact_exp) < documented);
  CHECK(worst_error(-1e-6f, -2.f, 1009, exp, exact_exp) < documented);
  CHECK(worst_error(-1e-6f, -126.f, 1009, [](P y) { return simd::exp2_nonpositive(y); }, [](double y) { return std::exp2(y); }) < documented);
  CHECK(worst_error(1e-6f, 20.f, 1009, [](P x) { return simd::tanh(x); }, [](double x) { return std::tanh(x); }) < documented);
  CHECK(worst_error(-1e-3f, -2.f, 1009, [](P x) { return simd::normal_cdf(x); }, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.)); }) < documented_cdf);
  CHECK(worst_error(1e-3f, 8.f, 1009, [](P x) { return simd::normal_cdf(x); }, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.)); }) < documented_cdf);
}
