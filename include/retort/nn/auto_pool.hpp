#pragma once
// Layers for samples that are sequences of frames, N x T x n.

#include <retort/functor/distance.hpp>
#include <retort/functor/elementary.hpp>
#include <retort/nn/sequential.hpp>

namespace retort::nn {

/// A body for vectors (M x n to M x C), applied to each frame: N x T x n to N x T x C. Taps inside it end here.
template <class Body>
struct PerFrame {
  Body body;

  template <class T, class B>
  using State = typename Body::template State<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return body.template make<T, B>(rng);
  }
  template <class T, class B>
  Var<T, 3> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 3> x) const {
    const index_t n = x.extent(0), frames = x.extent(1);
    const Var<T, 2> y = result_of(body.forward(s, pass, reshape(pass.tape, x, Shape<2>{n * frames, x.extent(2)})));
    return reshape(pass.tape, y, Shape<3>{n, frames, y.extent(1)});
  }
  std::string describe() const { return "PerFrame(" + body.describe() + ")"; }
};

/// AutoPool (McFee, Salamon & Bello 2018): of frame-wise probabilities N x T x C one per clip, N x C,
/// p_c = sum_t p_tc softmax_t(alpha_c p_tc). alpha is learned per class and kept at 0 or more as a magnitude; 0 is the mean
/// over frames, large alphas tend to the maximum.
struct AutoPool {
  index_t classes = 0;
  double alpha = 1;  ///< at first

  template <class T, class B>
  struct State {
    Parameter<T, 1, B> alpha;
    template <class F>
    void visit(F&& f) {
      f("alpha", alpha);
    }
  };
  template <class T, class B>
  State<T, B> make(Rng&) const {
    require<value_error>(classes > 0 && alpha >= 0, "AutoPool: expected classes and an alpha of 0 or more, got ", classes, " and ", alpha);
    State<T, B> s{Parameter<T, 1, B>(Shape{classes}, false)};
    const std::vector<T> first(static_cast<std::size_t>(classes), static_cast<T>(alpha));
    B::copy(s.alpha.value.data(), first.data(), first.size() * sizeof(T));
    return s;
  }
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 3> p) const {
    auto& tape = pass.tape;
    const index_t n = p.extent(0), frames = p.extent(1);
    require<shape_error>(p.extent(2) == classes, "AutoPool(", classes, "): expected N x T x ", classes, ", got ", to_string(p.shape()));
    const auto alphas = activate(tape, functor::Magnitude{}, reshape(tape, s.alpha.var(pass), Shape<3>{1, 1, classes}));
    const auto scores = multiply(tape, p, alphas);
    const auto top = tape.detach(global_max_pool(tape, reshape(tape, scores, Shape<4>{n, frames, 1, classes})));  // cancels; keeps exp finite
    const auto e = activate(tape, functor::Exp{}, subtract(tape, scores, reshape(tape, top, Shape<3>{n, 1, classes})));
    const auto pooled = divide(tape, sum_axis(tape, multiply(tape, p, e), 1), sum_axis(tape, e, 1));
    return reshape(tape, pooled, Shape<2>{n, classes});
  }
  std::string describe() const { return detail::concat("AutoPool(", classes, ")"); }
};

}  // namespace retort::nn
