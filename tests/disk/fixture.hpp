#pragma once
// A batch on a tape, as a turn of the distiller would make it, for losses and penalties by themselves.

#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/censor/guide.hpp>

#include "support.hpp"

namespace test {

using retort::Block;
using retort::Cpu;
using retort::Exchange;
using retort::index_t;
using retort::Shape;
using retort::Tape;
using retort::Tensor;
using retort::Var;
using retort::View;

using Logits = Var<double, 2>;
using Turn = Exchange<double, Cpu, Logits, Logits, Logits>;

struct Batch {
  Tensor<double, 2> student, teacher, gate;
  std::vector<std::int32_t> labels;

  Batch(index_t rows, index_t classes, std::uint64_t seed = 1)
      : student(randn(Shape{rows, classes}, seed, 1.5)), teacher(randn(Shape{rows, classes}, seed + 1, 2)), gate(Shape{rows, index_t{1}}) {
    retort::Rng rng(seed + 2);
    for (double& g : gate) g = 0.05 + 0.9 * rng.uniform_double();
    for (index_t r = 0; r < rows; ++r) labels.push_back(static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(classes))));
  }
  View<const std::int32_t, 1> label_view() const { return {labels.data(), {static_cast<index_t>(labels.size())}}; }
  Turn turn(Tape<double, Cpu>& tape, Logits zs, Logits g, Block whose = Block::student) const {
    const Logits zt = tape.constant(View<const double, 2>(teacher.view()));
    Turn out{tape, zs, label_view(), {}, zs, zt};
    out.extras = g;
    out.turn = whose;
    return out;
  }
};

/// softmax(z / temperature) of a row.
inline std::vector<double> softmax(const double* z, index_t classes, double temperature = 1) {
  std::vector<double> p(static_cast<std::size_t>(classes));
  double top = *std::max_element(z, z + classes), sum = 0;
  for (index_t c = 0; c < classes; ++c) sum += p[static_cast<std::size_t>(c)] = std::exp((z[c] - top) / temperature);
  for (double& x : p) x /= sum;
  return p;
}

}  // namespace test
