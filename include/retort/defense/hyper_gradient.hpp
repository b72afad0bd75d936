#pragma once

#include <cmath>
#include <retort/autograd/hvp.hpp>
#include <vector>

namespace retort::defense {

struct NeumannOptions {
  double eta = 0.1;     ///< step of the inner problem; the series converges where 0 < eta H < 2
  int terms = 5;        ///< K: v = sum_{k<K} (I - eta H)^k g
  double stop = 1e-10;  ///< the series ends early where a term's norm is below
  HvpOptions difference{};
};

/// Memory of `hyper_gradient`, kept from call to call.
template <class T, class B>
struct NeumannWorkspace {
  Tensor<T, 2, B> series, term, product;
  ReplayLog<B> log;
  std::vector<Tensor<T, 1, B>> total, mixed;
  std::vector<View<T, 1>> mixed_views;

  void fit(const Shape<2>& shape, std::span<const ParameterRef<T>> parameters) {
    if (series.shape() == shape && mixed.size() == parameters.size()) return;
    for (auto* t : {&series, &term, &product}) *t = Tensor<T, 2, B>(shape);
    total.clear(), mixed.clear(), mixed_views.clear();
    for (const auto& p : parameters) {
      total.emplace_back(p.value.shape);
      mixed.emplace_back(p.value.shape);
    }
    for (auto& m : mixed) mixed_views.push_back(m.view());
  }
};

/// Derivative by the parameters theta of L_out(delta*(theta), theta), where delta* minimises L_in(., theta), by the
/// implicit-function theorem with a truncated Neumann series (Lorraine et al. 2020; self-retrospection in ABD, Hong et al.
/// 2023): with g = dL_out/ddelta and H = d2 L_in/ddelta2,
///   v = sum_{k<K} (I - eta H)^k g,   h = dL_out/dtheta - eta (d2 L_in / dtheta ddelta)^T v.
/// `inner(tape, delta, learn)` and `outer(tape, delta, learn)` build the scalars; with `learn` the parameters collect
/// gradients. Second derivatives are differences of gradients in replay mode (hvp): K - 1 Hessian products and a mixed one.
/// *Adds* h to the gradient slots of `parameters`; resets the tape; `delta` comes back bit for bit.
template <class T, class B, class Inner, class Outer>
void hyper_gradient(Tape<T, B>& tape, View<T, 2> delta, Inner&& inner, Outer&& outer, std::span<const ParameterRef<T>> parameters,
                    NeumannWorkspace<T, B>& work, const NeumannOptions& options = {}) {
  require<value_error>(options.terms >= 1 && options.eta > 0, "defense::hyper_gradient: expected at least 1 term and eta > 0, got ",
                       options.terms, " and ", options.eta);
  B& backend = tape.backend();
  if constexpr (!B::host_accessible) backend.synchronize();  // no new tensors while launches are held back
  work.fit(delta.shape, parameters);
  const auto add_to = [&](View<T, 1> to, T factor, View<const T, 1> from, Write write = Write::add) {
    Kernels<B>::accumulate(backend, factor, from, to, write);
  };
  const auto take = [&](const ParameterRef<T>& p, View<T, 1> to, Write write) {
    if (p.slot->written)
      add_to(to, T(1), View<const T, 1>{p.slot->data, p.value.shape}, write);
    else if (write == Write::replace)
      Kernels<B>::fill(backend, T(0), to);
    p.slot->written = false;
  };
  for (std::size_t i = 0; i < parameters.size(); ++i) take(parameters[i], work.total[i].view(), Write::replace);

  const View<T, 1> term = work.term.view().flat(), series = work.series.view().flat(), product = work.product.view().flat();
  tape.reset();
  const Var<T, 2> at = tape.leaf(View<const T, 2>(delta));
  tape.backward(outer(tape, at, true));
  if (at.slot->written)
    add_to(term, T(1), tape.gradient(at).flat(), Write::replace);
  else
    Kernels<B>::fill(backend, T(0), term);
  for (std::size_t i = 0; i < parameters.size(); ++i) take(parameters[i], work.total[i].view(), Write::add);

  add_to(series, T(1), View<const T, 1>(term), Write::replace);
  for (int k = 1; k < options.terms; ++k) {  // each term is the one before minus eta H of it
    hvp<T, B>(tape, delta, View<const T, 2>(work.term.view()), [&](auto& t, auto d) { return inner(t, d, false); }, work.product.view(), {}, {},
              work.log, options.difference);
    add_to(term, static_cast<T>(-options.eta), View<const T, 1>(product));
    add_to(series, T(1), View<const T, 1>(term));
    if (std::sqrt(Kernels<B>::sum_of_squares(backend, View<const T, 1>(term))) < options.stop) break;
  }
  hvp<T, B>(tape, delta, View<const T, 2>(work.series.view()), [&](auto& t, auto d) { return inner(t, d, true); }, {}, parameters,
            std::span<const View<T, 1>>(work.mixed_views), work.log, options.difference);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const auto& p = parameters[i];
    const View<T, 1> to{p.slot->data, p.value.shape};
    add_to(to, T(1), View<const T, 1>(work.total[i].view()), Write::replace);
    add_to(to, static_cast<T>(-options.eta), View<const T, 1>(work.mixed[i].view()));
    p.slot->written = true;
  }
}

}  // namespace retort::defense
