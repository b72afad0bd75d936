#pragma once
// Copies between Retort's NHWC tensors and PyTorch's NCHW ones, and the check that both computed the same.

#include <ATen/ATen.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/core/rng.hpp>

namespace peers {

using namespace retort;
using K = Kernels<Cpu>;

template <int Rank>
Tensor<float, Rank> filled(Shape<Rank> shape, std::uint64_t seed) {
  Tensor<float, Rank> out(shape);
  Rng rng(seed);
  for (float& v : out) v = rng.uniform(-1, 1);
  return out;
}

/// The same numbers under PyTorch, logically NCHW.
inline at::Tensor to_torch(const Tensor<float, 4>& t, at::MemoryFormat format) {
  const auto nhwc = at::from_blob(const_cast<float*>(t.data()), {t.extent(0), t.extent(1), t.extent(2), t.extent(3)});
  return nhwc.permute({0, 3, 1, 2}).contiguous(format);
}
/// Weights: KH x KW x C_in x C_out here, C_out x C_in x KH x KW there.
inline at::Tensor to_torch_weights(const Tensor<float, 4>& w, at::MemoryFormat format) {
  const auto hwio = at::from_blob(const_cast<float*>(w.data()), {w.extent(0), w.extent(1), w.extent(2), w.extent(3)});
  return hwio.permute({3, 2, 0, 1}).contiguous(format);
}

/// Throws when the tensors differ by more than rounding.
inline void expect_equal(const char* what, const at::Tensor& ours, const at::Tensor& theirs) {
  const double error = (ours - theirs).abs().max().item<double>() / theirs.abs().max().item<double>();
  require<value_error>(error < 1e-5, what, ": Retort and PyTorch differ by ", error, " of the largest value");
}

}  // namespace peers
