#pragma once

#include <retort/autograd/ops.hpp>
#include <retort/functor/elementary.hpp>
#include <retort/nn/sequential.hpp>

namespace retort::loss {

/// Attention transfer (Zagoruyko & Komodakis 2017) as ZSKT uses it: sum over the taps of
/// mean_ij (A(S)_ij - A(T)_ij)^2 with A(f) = flatten(mean_c f^2), scaled to norm 1 per sample. Both networks carry the taps
/// `Tags`, whose features (N x H x W x C) agree in N, H and W. Throws shape_error when they do not.
template <class... Tags>
struct Attention {
  static_assert(sizeof...(Tags) >= 1, "retort: loss::Attention needs at least one feature tap, e.g. Attention<stage1, stage2>; "
                                      "see retort/loss/attention.hpp");
  double weight = 250;

  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    auto one = [&](const auto& s, const auto& t) {
      const auto d = subtract(tape, map(tape, s), map(tape, t));
      return mean(tape, multiply(tape, d, d));
    };
    auto sum_up = [&](auto first, auto... rest) {
      ((first = add(tape, first, rest)), ...);
      return first;
    };
    return scale(tape, weight, sum_up(one(tap<Tags>(exchange.student), tap<Tags>(exchange.teacher))...));
  }

 private:
  /// The mean over the channels differs from their sum by a factor that the norm removes.
  template <class T, class B>
  static Var<T, 2> map(Tape<T, B>& tape, Var<T, 4> f) {
    const Var<T, 2> a = flatten(tape, mean_axis(tape, multiply(tape, f, f), 3));
    const Var<T, 2> norm = activate(tape, functor::InverseSqrt{}, sum_axis(tape, multiply(tape, a, a), 1));
    return multiply(tape, a, norm);
  }
};

}  // namespace retort::loss
