#pragma once
// Shared by the kernel tests: seeded inputs, a tolerance that knows the type and the length of the sums, and the
// element access of plain loops in double.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/core/rng.hpp>
#include <vector>

namespace test {

using namespace retort;
using K = Kernels<Cpu>;

template <class T, int Rank>
Tensor<T, Rank> random(Shape<Rank> shape, std::uint64_t seed, double low = -1, double high = 1) {
  Tensor<T, Rank> out(shape);
  Rng rng(seed);
  for (T& v : out) v = static_cast<T>(low + (high - low) * rng.uniform_double());
  return out;
}

/// Relative rounding error to allow for a sum of `terms` products in T.
template <class T>
double tolerance(index_t terms) {
  return 8 * static_cast<double>(std::numeric_limits<T>::epsilon()) * (2 + std::sqrt(static_cast<double>(terms)));
}

/// Largest |actual - expected| relative to the largest |expected| (at least 1); NaN counts as infinite.
template <class Actual, class Expected>
double deviation(const Actual& actual, const Expected& expected, index_t n) {
  double worst = 0, scale = 1;
  for (index_t i = 0; i < n; ++i) {
    const double e = static_cast<double>(expected[i]), d = std::abs(static_cast<double>(actual[i]) - e);
    scale = std::max(scale, std::abs(e));
    worst = d <= worst ? worst : std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
  }
  return worst / scale;
}

template <class T, int Rank>
double deviation(const Tensor<T, Rank>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == static_cast<index_t>(expected.size()));
  return deviation(actual.data(), expected.data(), actual.size());
}

template <class T, int Rank>
std::vector<double> to_double(const Tensor<T, Rank>& t) {
  return std::vector<double>(t.begin(), t.end());
}

}  // namespace test
