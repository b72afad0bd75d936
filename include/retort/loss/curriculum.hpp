#pragma once

#include <retort/loss/evaluate.hpp>

namespace retort {

/// x, whose gradient passes back multiplied by `factor`: -1 is gradient reversal (Ganin & Lempitsky 2015).
template <class T, class B, int R>
Var<T, R> scale_gradient(Tape<T, B>& tape, std::type_identity_t<T> factor, Var<T, R> x) {
  Var<T, R> out{x.value, nullptr};
  if (x.slot) out.slot = tape.result(View<T, R>{const_cast<T*>(x.value.data), x.shape()}, true).slot;
  tape.record(detail::LinearMapRecord<T, R, R>{factor, x, out});
  return out;
}

namespace loss {

/// Curriculum temperature (Li et al. 2023, CTKD) over a row loss that has a temperature and its gradient (SoftTargets): the
/// temperature low + high * sigmoid(theta) is learned against the student. Its gradient, which also comes through T^2, is
/// multiplied by lambda, which falls from 0 to -1 along half a cosine over the first `epochs`; theta shares the student's
/// optimiser and begins at 1.
template <class Inner>
struct CurriculumTemperature {
  Inner inner{};
  double low = 1, high = 20;
  double epochs = 10;

  template <class T, class B>
  struct State {
    nn::Parameter<T, 1, B> theta;
    template <class F>
    void visit(F&& f) {
      f("theta", theta);
    }
  };
  template <class S>
  auto make(S&) const {
    using T = typename S::scalar;
    require<value_error>(low > 0 && high >= 0 && epochs >= 0, "loss::CurriculumTemperature: expected low > 0, high >= 0 and epochs >= 0, got ", low,
                         ", ", high, ", ", epochs);
    State<T, typename S::context> s{nn::Parameter<T, 1, typename S::context>(Shape{1}, false)};
    *s.theta.value.begin() = T(1);
    return s;
  }
  /// Factor on theta's gradient in an epoch.
  double reversal(int epoch) const { return epoch >= epochs ? -1 : -(1 - std::cos(3.14159265358979323846 * epoch / epochs)) / 2; }

  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    auto& tape = exchange.tape;
    using T = typename std::remove_reference_t<decltype(tape)>::value_type;
    using B = typename std::remove_reference_t<decltype(tape)>::backend_type;
    auto pass = own_pass(exchange);
    const auto gate = activate(tape, functor::Sigmoid{}, scale_gradient(tape, static_cast<T>(reversal(exchange.progress.epoch)), state.theta.var(pass)));
    const auto temperature = add_constant(tape, scale(tape, static_cast<T>(high), gate), static_cast<T>(low));
    const index_t n = result_of(exchange.student).extent(0);
    const View<T, 1> zeros = tape.allocate(Shape<1>{n});
    Kernels<B>::fill(tape.backend(), T(0), zeros);
    auto seen = exchange;
    seen.temperatures = add(tape, tape.constant(zeros), temperature);
    return loss::evaluate(inner, seen);
  }
};
template <class Inner>
CurriculumTemperature(Inner) -> CurriculumTemperature<Inner>;

}  // namespace loss
}  // namespace retort
