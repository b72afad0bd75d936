#pragma once
// A trained teacher and a too small student, for tests that train.

#include <retort/method/disk.hpp>
#include <retort/train/fit.hpp>

#include "support.hpp"
#include "toy_data.hpp"

namespace test {

using retort::index_t;
using Mlp = retort::nn::Sequential<retort::nn::Linear, retort::nn::Relu, retort::nn::Linear>;
inline Mlp mlp(index_t in, index_t hidden, index_t out) {
  return Mlp(retort::nn::Linear{in, hidden}, retort::nn::Relu{}, retort::nn::Linear{hidden, out});
}

struct World {
  retort::Dataset<2> data = blobs(240, 8, 4, 1);
  retort::Network<Mlp> teacher{mlp(8, 24, 4), 1};
  retort::Network<Mlp> student{mlp(8, 3, 4), 2};
  World() {
    retort::LabelsOnly<Mlp> method{retort::teacher::None{}, teacher};
    retort::fit(method, data, retort::optim::Sgd{.lr = 0.1f, .momentum = 0.9f}, {.epochs = 8});
  }
};
/// A hint on three of the four classes.
inline retort::loss::ScaffoldedSoftTargets top3() { return {.help = {3}}; }

template <class N>
std::vector<double> weights(N& network) {
  std::vector<double> out;
  for (auto& [name, v] : network.tensors()) out.insert(out.end(), v.begin(), v.end());
  return out;
}

}  // namespace test
