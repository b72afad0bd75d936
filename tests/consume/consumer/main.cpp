#include <cstdio>
#include <retort.hpp>

int main() {
  retort::Cpu cpu;
  retort::Tensor<float, 2> a(retort::Shape{2, 3}), b(retort::Shape{3, 2}), c(retort::Shape{2, 2});
  for (float& x : a) x = 1;
  for (float& x : b) x = 2;
  retort::Kernels<retort::Cpu>::gemm<float>(cpu, retort::Transpose::no, retort::Transpose::no, a, b, c);
  std::printf("retort %d.%d: %g\n", RETORT_VERSION_MAJOR, RETORT_VERSION_MINOR, static_cast<double>(c(1, 1)));
  return c(1, 1) == 6 ? 0 : 1;
}
