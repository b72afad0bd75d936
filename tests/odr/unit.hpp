#pragma once
// The same work, compiled into each unit under the name UNIT.

#include "all_headers.hpp"

/// Sum of |A B| for two seeded matrices, through the kernels as this unit's compiler flags shape them.
double UNIT(retort::index_t n) {
  retort::Cpu cpu(2);
  retort::Tensor<float, 2> a(retort::Shape{n, n}), b(retort::Shape{n, n}), c(retort::Shape{n, n});
  retort::Rng rng(5);
  for (float& x : a) x = rng.uniform(-1, 1);
  for (float& x : b) x = rng.uniform(-1, 1);
  retort::Kernels<retort::Cpu>::gemm<float>(cpu, retort::Transpose::no, retort::Transpose::yes, a, b, c);
  double sum = 0;
  for (float x : c) sum += x < 0 ? -x : x;
  return sum;
}
