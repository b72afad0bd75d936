#pragma once

#include <algorithm>
#include <cmath>
#include <retort/autograd/tape.hpp>
#include <string>
#include <tuple>
#include <vector>

namespace retort {

/// What `grad_check` found. `error` is the largest difference of an analytic from a numeric entry, divided by the largest
/// numeric entry of the same input (or by 1e-2 where all are smaller).
struct GradCheckReport {
  double error = 0;
  int input = -1;      ///< position of the worst input
  index_t entry = -1;  ///< flat index in it
  double analytic = 0, numeric = 0;
};

/// Compares the tape's gradients of a scalar function with fourth-order central differences.
/// `f(tape, Var<T, R>...)` builds the scalar (shape (1)) from leaves over the given tensors. The differences are taken in
/// replay mode, so that kinks (ReLU, max-pool) and dropout do not spoil them. Use double; the step is 1e-3.
/// A policy author's first test: `CHECK(grad_check(cpu, f, x, w).error < 1e-7)`.
template <class B, class F, class T, int... R>
GradCheckReport grad_check(B& backend, F&& f, Tensor<T, R, B>&... inputs) {
  Tape<T, B> tape(backend);
  ReplayLog<B> log;
  using Kinks = typename Tape<T, B>::Kinks;
  std::vector<std::vector<T>> analytic;
  tape.set_kinks(Kinks::record, &log);
  {
    auto leaves = std::make_tuple(tape.leaf(View<const T, R>(inputs.view()))...);
    const Var<T, 1> y = std::apply([&](auto... x) { return f(tape, x...); }, leaves);
    tape.backward(y);
    std::apply(
        [&](auto... x) {
          (analytic.push_back(x.slot->written ? std::vector<T>(x.slot->data, x.slot->data + x.size())
                                              : std::vector<T>(static_cast<std::size_t>(x.size()))),
           ...);
        },
        leaves);
  }
  auto value = [&] {
    tape.reset();
    tape.set_kinks(Kinks::replay, &log);
    NoGrad off(tape);
    return f(tape, tape.leaf(View<const T, R>(inputs.view()))...).value.data[0];
  };
  GradCheckReport report;
  int position = 0;
  auto check = [&](View<T, 1> x) {
    const T h = T(1e-3);
    std::vector<T> numeric(static_cast<std::size_t>(x.size()));
    for (index_t i = 0; i < x.size(); ++i) {
      const T at = x.data[i];
      auto shifted = [&](T by) {
        x.data[i] = at + by;
        return value();
      };
      numeric[static_cast<std::size_t>(i)] = (T(8) * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
      x.data[i] = at;
    }
    double largest = 1e-2;
    for (T n : numeric) largest = std::max(largest, std::abs(static_cast<double>(n)));
    for (std::size_t i = 0; i < numeric.size(); ++i) {
      const double a = static_cast<double>(analytic[static_cast<std::size_t>(position)][i]), n = static_cast<double>(numeric[i]);
      const double error = std::abs(a - n) / largest;
      if (!(error <= report.error)) report = {error, position, static_cast<index_t>(i), a, n};
    }
    ++position;
  };
  (check(inputs.view().flat()), ...);
  return report;
}

}  // namespace retort
