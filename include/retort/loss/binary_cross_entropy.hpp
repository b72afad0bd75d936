#pragma once

#include <retort/functor/distance.hpp>
#include <retort/loss/feature.hpp>

namespace retort::loss {

/// Mean over samples and classes of -(y log p + (1 - y) log(1 - p)): the student's result is probabilities N x C (a sigmoid's,
/// a pool's), the teacher's the targets y in [0, 1], as of teacher::Targets. `epsilon` under the logarithms keeps them finite.
struct BinaryCrossEntropy {
  double epsilon = 1e-7;

  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 2> p, Var<T, 2> y) const {
    detail::require_same_shape("loss::BinaryCrossEntropy", p, y);
    const auto log_of = [&](auto x) { return activate(tape, functor::Log{}, activate(tape, functor::Shift{epsilon}, x)); };
    const auto complement = [&](auto x) { return add_constant(tape, scale(tape, T(-1), x), T(1)); };
    const auto likelihood = add(tape, multiply(tape, y, log_of(p)), multiply(tape, complement(y), log_of(complement(p))));
    return scale(tape, T(-1), mean(tape, likelihood));
  }
};

}  // namespace retort::loss
