#pragma once
// Both backends side by side. The CUDA side runs under the emulation of this folder, or on a device when compiled by nvcc.

#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/core/rng.hpp>
#include <retort/cuda/context.hpp>
#include <support.hpp>
#include <vector>

namespace test {

using namespace retort;

/// A tensor of either backend with given contents, row-major.
template <class B, class T, int R>
Tensor<T, R, B> tensor_of(Shape<R> shape, const std::vector<T>& values) {
  Tensor<T, R, B> out(shape);
  B::copy(out.data(), values.data(), values.size() * sizeof(T));
  return out;
}
template <class T, int R, class B>
std::vector<T> host(const Tensor<T, R, B>& t) {
  std::vector<T> out(static_cast<std::size_t>(t.size()));
  B::copy(out.data(), t.data(), out.size() * sizeof(T));
  return out;
}
template <class T, int R>
std::vector<T> host(View<T, R> v) {
  std::vector<std::remove_const_t<T>> out(static_cast<std::size_t>(v.size()));
  Cuda::copy(out.data(), v.data, out.size() * sizeof(T));
  return out;
}

template <class T>
std::vector<T> normals(index_t n, std::uint64_t seed, double scale = 1) {
  Rng rng(seed);
  std::vector<T> out;
  for (index_t i = 0; i < n; ++i) out.push_back(static_cast<T>(scale * rng.normal()));
  return out;
}

/// Largest difference, relative to the largest magnitude of `expected` or 1.
template <class T>
double distance(const std::vector<T>& expected, const std::vector<T>& actual) {
  REQUIRE(expected.size() == actual.size());
  double top = 1e-30, difference = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    top = std::max(top, std::abs(double(expected[i])));
    const double d = std::abs(double(expected[i]) - double(actual[i]));
    difference = d <= difference ? difference : d;  // a NaN wins
  }
  return difference / top;
}

}  // namespace test
