#pragma once
// The same tests in two builds. By g++ the CUDA side runs under the emulation of this folder and is compared with the CPU;
// with RETORT_TRANSCRIPT=FILE in the environment, what it gave is also written down. By nvcc (RETORT_ON_DEVICE), which cannot
// compile the CPU's kernels, the same kernels run on a device and are compared with that file, RETORT_EXPECTED=FILE.

#include <doctest/doctest.h>

#if !defined(RETORT_ON_DEVICE)
#include <retort/backend/cpu_kernels.hpp>
#endif
#include <cstdlib>
#include <fstream>
#include <retort/core/bfloat16.hpp>
#include <retort/core/rng.hpp>
#include <retort/cuda/context.hpp>
#include <support.hpp>
#include <vector>

/// What the CPU gives, in a build that has its kernels.
#if defined(RETORT_ON_DEVICE)
#define RETORT_CPU_SIDE(cpu, cuda) cuda
#else
#define RETORT_CPU_SIDE(cpu, cuda) cpu
#endif

namespace test {

using namespace retort;

/// Float whose factors were rounded to ten bits of mantissa: four times the error of one rounding.
struct Tf32;
template <>
struct tolerance<Tf32, Cuda> {
  static constexpr double value = 0x1p-9;
};
/// Float that was rounded to BFloat16 up to twice on its way to memory.
template <>
struct tolerance<BFloat16, Cuda> {
  static constexpr double value = 0x1p-7;
};

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
std::vector<std::remove_const_t<T>> host(View<T, R> v) {
  std::vector<std::remove_const_t<T>> out(static_cast<std::size_t>(v.size()));
  Cuda::copy(out.data(), v.data, out.size() * sizeof(T));
  return out;
}

/// All parameters and statistics of a network of doubles, appended to `out`.
template <class Network>
void append_tensors(Network& network, std::vector<double>& out) {
  for (auto& [name, view] : network.tensors()) {
    std::vector<double> values(static_cast<std::size_t>(view.size()));
    Network::context::copy(values.data(), view.data, values.size() * sizeof(double));
    out.insert(out.end(), values.begin(), values.end());
  }
}

template <class T>
std::vector<T> normals(index_t n, std::uint64_t seed, double scale = 1) {
  Rng rng(seed);
  std::vector<T> out;
  for (index_t i = 0; i < n; ++i) out.push_back(static_cast<T>(scale * rng.normal()));
  return out;
}

/// Largest difference, relative to the largest magnitude of `expected`.
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

/// What the CUDA side gave, in the order of the tests: written by the emulated build, read by the one on a device.
class Transcript {
 public:
  static Transcript& instance() {
    static Transcript transcript;
    return transcript;
  }
  void exchange(const std::vector<double>& values, double tolerance) {
    const std::uint64_t count = values.size();
    if (out_.is_open()) {
      out_.write(reinterpret_cast<const char*>(&count), sizeof count);
      out_.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(count * sizeof(double)));
    }
    if (in_.is_open()) {
      std::uint64_t there = 0;
      in_.read(reinterpret_cast<char*>(&there), sizeof there);
      REQUIRE(there == count);
      std::vector<double> expected(count);
      in_.read(reinterpret_cast<char*>(expected.data()), static_cast<std::streamsize>(count * sizeof(double)));
      CHECK(distance(expected, values) < tolerance);
    }
  }

 private:
  Transcript() {
    if (const char* path = std::getenv("RETORT_TRANSCRIPT")) out_.open(path, std::ios::binary);
    if (const char* path = std::getenv("RETORT_EXPECTED")) in_.open(path, std::ios::binary);
  }
  std::ofstream out_;
  std::ifstream in_;
};

/// The CUDA side gives what the CPU gives (emulated build) or gave (on a device).
template <class T>
void same(const std::vector<T>& cpu, const std::vector<T>& cuda, double tolerance) {
#if !defined(RETORT_ON_DEVICE)
  CHECK(distance(cpu, cuda) < tolerance);
#endif
  static_cast<void>(cpu);
  Transcript::instance().exchange(std::vector<double>(cuda.begin(), cuda.end()), tolerance);
}

}  // namespace test
