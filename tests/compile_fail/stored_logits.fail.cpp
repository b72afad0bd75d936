// expect: retort: linear_row_loss stores logits as what they are computed in or, on the CUDA backend and with float, as BFloat16
#include <retort/autograd/ops_linear_loss.hpp>
#include "prelude.hpp"
Var<float, 1> fused(Tape<float, Cpu>& tape, const LinearLossInputs<float, BFloat16>& in) {
  return linear_row_loss(tape, loss::CrossEntropy<TokenMean>{}, in);
}
