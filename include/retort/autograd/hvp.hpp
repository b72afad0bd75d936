#pragma once

#include <cmath>
#include <retort/autograd/tape.hpp>
#include <span>

namespace retort {

/// A parameter or buffer of a network as a flat list sees it.
template <class T>
struct ParameterRef {
  View<T, 1> value;
  GradientSlot<T>* slot = nullptr;
  bool decay = true;  ///< takes part in weight decay (weights do; biases and batch-norm factors do by default too)
};

struct HvpOptions {
  /// Length of the difference step relative to max(1, |at|). 3e-2 is best in float (anchors: smaller steps drown in
  /// rounding); use 1e-4 in double.
  double relative_step = 3e-2;
};

/// Hessian-vector products without double backward. For a scalar function L(x, theta), given x, and a direction v in x,
/// writes H_xx v into `hv` and, for each parameter, the mixed product (d/dtheta)(grad_x L . v) into `mixed`:
/// differences of two ordinary backward passes at x +- eps v, both replaying the non-smooth decisions recorded at x,
/// with batch-norm statistics standing still. Exact up to O(eps^2) for the function with frozen decisions, which is what
/// double backward differentiates too.
///
/// `f(tape, Var<T, R> x)` builds L and must do the same operations on each call. `hv` may be empty (not wanted).
/// `mixed[i]` has the size of `parameters[i]`. Clears and overwrites the gradient slots of `parameters`; resets the tape.
/// `at` is perturbed in place and restored bit for bit. Throws shape_error when shapes differ.
template <class T, class B, int R, class F>
void hvp(Tape<T, B>& tape, View<T, R> at, std::type_identity_t<View<const T, R>> v, F&& f, std::type_identity_t<View<T, R>> hv,
         std::span<const ParameterRef<T>> parameters, std::span<const View<T, 1>> mixed, ReplayLog<B>& log,
         const HvpOptions& options = {}) {
  require<shape_error>(at.shape == v.shape && (!hv.data || hv.shape == at.shape), "hvp: point of shape ", to_string(at.shape),
                       ", direction of shape ", to_string(v.shape));
  require<shape_error>(mixed.size() == 0 || mixed.size() == parameters.size(), "hvp: ", parameters.size(),
                       " parameters but room for ", mixed.size(), " mixed products");
  using Kinks = typename Tape<T, B>::Kinks;
  B& backend = tape.backend();
  const double norm_v = std::sqrt(Kernels<B>::sum_of_squares(backend, v.flat()));
  const double norm_x = std::sqrt(Kernels<B>::sum_of_squares(backend, View<const T, 1>(at.flat())));
  if (norm_v == 0) {
    if (hv.data) Kernels<B>::fill(backend, T(0), hv);
    for (View<T, 1> m : mixed) Kernels<B>::fill(backend, T(0), m);
    return;
  }
  const T step = static_cast<T>(options.relative_step * std::fmax(1.0, norm_x) / norm_v);

  tape.reset();
  tape.set_kinks(Kinks::record, &log);
  {
    NoGrad off(tape);
    f(tape, tape.leaf(View<const T, R>(at)));
  }
  const View<T, 1> base{log.template scratch<T>(at.size()), {at.size()}};
  Kernels<B>::accumulate(backend, T(1), View<const T, 1>(at.flat()), base, Write::replace);
  for (const int sign : {+1, -1}) {
    tape.reset();
    for (const auto& p : parameters) p.slot->written = false;
    Kernels<B>::accumulate(backend, T(1), View<const T, 1>(base), at.flat(), Write::replace);
    Kernels<B>::accumulate(backend, static_cast<T>(sign) * step, v.flat(), at.flat(), Write::add);
    tape.set_kinks(Kinks::replay, &log);
    const Var<T, R> x = tape.leaf(View<const T, R>(at));
    tape.backward(f(tape, x));
    const T factor = static_cast<T>(sign) / (T(2) * step);
    const Write write = sign > 0 ? Write::replace : Write::add;
    auto collect = [&](const GradientSlot<T>& slot, View<T, 1> out) {
      if (slot.written)
        Kernels<B>::accumulate(backend, factor, View<const T, 1>{slot.data, out.shape}, out, write);
      else if (write == Write::replace)
        Kernels<B>::fill(backend, T(0), out);
    };
    if (hv.data) collect(*x.slot, hv.flat());
    for (std::size_t i = 0; i < mixed.size(); ++i) collect(*parameters[i].slot, mixed[i]);
  }
  Kernels<B>::accumulate(backend, T(1), View<const T, 1>(base), at.flat(), Write::replace);
  for (const auto& p : parameters) p.slot->written = false;
  tape.set_kinks(Kinks::live);
  tape.reset();
}

}  // namespace retort
