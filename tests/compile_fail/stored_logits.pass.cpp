#include <retort/autograd/ops_linear_loss.hpp>
#include "prelude.hpp"
Var<float, 1> fused(Tape<float, Cpu>& tape, const LinearLossInputs<float>& in) {
  return linear_row_loss(tape, loss::CrossEntropy<TokenMean>{}, in);
}
