#pragma once
// Shared by all tests: seeded tensors and the tolerance that belongs to a type, not to a test.

#include <retort/core/rng.hpp>
#include <retort/core/tensor.hpp>
#include <retort/backend/cpu.hpp>

namespace test {

/// Largest relative error that arithmetic of type T may show after a chain of operations.
template <class T, class B = retort::Cpu>
struct tolerance;
template <>
struct tolerance<float, retort::Cpu> {
  static constexpr double value = 2e-5, gradient = 1e-3, hvp = 1e-3;
};
template <>
struct tolerance<double, retort::Cpu> {
  static constexpr double value = 1e-12, gradient = 1e-7, hvp = 1e-6;
};

/// A tensor of standard normal values.
template <class T = double, int R>
retort::Tensor<T, R> randn(retort::Shape<R> shape, std::uint64_t seed, double scale = 1) {
  retort::Tensor<T, R> out(shape);
  retort::Rng rng(seed);
  for (T& x : out) x = static_cast<T>(scale * rng.normal());
  return out;
}

}  // namespace test
