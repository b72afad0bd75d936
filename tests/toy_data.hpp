#pragma once

#include <retort/data/dataset.hpp>

namespace test {

/// Gaussian clusters, one per class, centres two apart: separable, but not perfectly.
inline retort::Dataset<2> blobs(retort::index_t n, retort::index_t features, int classes, std::uint64_t seed) {
  retort::Dataset<2> data{retort::Tensor<float, 2>(retort::Shape{n, features}), {}, classes, "blobs"};
  retort::Rng rng(seed), centres(99);
  std::vector<float> centre(static_cast<std::size_t>(features * classes));
  for (float& c : centre) c = 2 * static_cast<float>(centres.normal());
  for (retort::index_t i = 0; i < n; ++i) {
    const int label = static_cast<int>(i % classes);
    data.labels.push_back(label);
    for (retort::index_t k = 0; k < features; ++k)
      data.inputs(i, k) = centre[static_cast<std::size_t>(label * features + k)] + static_cast<float>(rng.normal());
  }
  return data;
}

}  // namespace test
