#pragma once

#include <retort/autograd/tape.hpp>
#include <retort/backend/row_batch.hpp>
#include <retort/functor/row_loss.hpp>

namespace retort {

/// What a row loss is evaluated on, as variables. Only `student` is always there.
template <class T>
struct RowLossInputs {
  Var<T, 2> student;                   ///< N x C logits
  Var<T, 2> teacher{};                 ///< N x C logits; a gradient may be wanted (generators, vaccines)
  View<const std::int32_t, 1> labels{};
  View<const std::uint8_t, 1> mask{};
  View<const T, 1> weights{};
  Var<T, 1> temperatures{};            ///< N; a gradient may be wanted (learned temperatures)
  Var<T, 2> extras{};                  ///< N x K; a gradient may be wanted (gates)
};

namespace detail {
template <class T>
struct RowLossRecord {
  RowLossInputs<T> in;
  RowGradients<T> gradients;
  Var<T, 1> out;

  template <class B, int R>
  static void deposit(Tape<T, B>& tape, Var<T, 1> out, Var<T, R> x, View<T, R> gradient) {
    if (!x.slot) return;
    if (out.slot->one && !x.slot->data) {  // the usual case: the forward pass already wrote this gradient
      *x.slot = {gradient.data, true};
      return;
    }
    const auto to = tape.destination(x);
    Kernels<B>::accumulate_by(tape.backend(), T(1), tape.gradient_of(out).data, gradient.flat(), to.view.flat(), to.write);
  }
  template <class B>
  void backward(Tape<T, B>& tape) const {
    deposit(tape, out, in.student, gradients.student);
    deposit(tape, out, in.teacher, gradients.teacher);
    deposit(tape, out, in.temperatures, gradients.temperature);
    deposit(tape, out, in.extras, gradients.extras);
  }
};
}  // namespace detail

namespace detail {
template <class T, int R>
struct KnownGradientRecord {
  Var<T, R> x;
  View<T, R> gradient;
  Var<T, 1> out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    RowLossRecord<T>::deposit(tape, out, x, gradient);
  }
};
}  // namespace detail

/// A scalar whose gradient with respect to `x` is already known. `gradient` is memory of the tape's.
template <class T, class B, int R>
Var<T, 1> with_gradient(Tape<T, B>& tape, std::type_identity_t<T> value, Var<T, R> x, View<T, R> gradient) {
  const View<T, 1> y = tape.allocate(Shape<1>{1});
  Kernels<B>::fill(tape.backend(), value, y);
  const Var<T, 1> out = tape.result(y, x.slot);
  tape.record(detail::KnownGradientRecord<T, R>{x, gradient, out});
  return out;
}

/// A row loss as a leaf: value and all wanted gradients in one fused pass over the logits, at forward time.
/// Throws what the engine throws: shape_error, value_error (labels, temperatures, a loss that is not finite).
template <class T, class B, class Loss>
Var<T, 1> row_loss(Tape<T, B>& tape, const Loss& loss, const RowLossInputs<T>& in) {
  RowGradients<T> gradients;
  auto want = [&](auto var, auto& view) {
    if (var.slot && tape.recording()) view = tape.allocate(var.shape());
  };
  want(in.student, gradients.student);
  want(in.teacher, gradients.teacher);
  want(in.temperatures, gradients.temperature);
  want(in.extras, gradients.extras);
  const RowBatch<T> batch{.student = in.student.value, .teacher = in.teacher.value, .labels = in.labels, .mask = in.mask,
                          .weight = in.weights, .temperature = in.temperatures.value, .extras = in.extras.value};
  const View<T, 1> value = tape.allocate(Shape<1>{1});
  Kernels<B>::row_loss(tape.backend(), loss, batch, gradients, value);
  const Var<T, 1> out = tape.result(value, in.student.slot || in.teacher.slot || in.temperatures.slot || in.extras.slot);
  tape.record(detail::RowLossRecord<T>{in, gradients, out});
  return out;
}

}  // namespace retort
