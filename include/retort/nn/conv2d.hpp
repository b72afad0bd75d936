#pragma once

#include <retort/nn/layer.hpp>

namespace retort::nn {

/// 2-D convolution over N x H x W x C images.
struct Conv2d {
  index_t in = 0, out = 0;
  int kernel = 3, stride = 1, padding = 1, groups = 1;
  bool bias = true;
  Init init = Init::he;
  static constexpr bool fuses_relu = true;

  template <class T, class B>
  struct State {
    Parameter<T, 4, B> weight;
    Parameter<T, 1, B> bias;
    template <class F>
    void visit(F&& f) {
      f("weight", weight);
      if (!bias.value.empty()) f("bias", bias);
    }
  };
  constexpr Conv2dGeometry geometry() const { return {kernel, kernel, stride, padding, groups}; }
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(in > 0 && out > 0 && kernel > 0 && stride > 0 && padding >= 0 && groups > 0 && in % groups == 0 &&
                             out % groups == 0,
                         describe(), ": extents must be positive and channels divisible by the groups");
    State<T, B> s{Parameter<T, 4, B>(Shape<4>{kernel, kernel, in / groups, out}),
                  bias ? Parameter<T, 1, B>(Shape{out}) : Parameter<T, 1, B>()};
    initialise(s.weight, init, kernel * kernel * in / groups, kernel * kernel * out / groups, rng);
    return s;
  }
  template <class T, class B>
  Var<T, 4> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 4> x, Epilogue epilogue = Epilogue::none) const {
    return conv2d(pass.tape, geometry(), x, s.weight.var(pass), bias ? s.bias.var(pass) : no_bias<T>(), epilogue);
  }
  std::string describe() const {
    return detail::concat("Conv2d(", in, ", ", out, ", kernel ", kernel, ", stride ", stride, ", padding ", padding, ", groups ",
                          groups, bias ? ")" : ", no bias)");
  }
};

/// Transposed 2-D convolution without bias (a batch norm follows it everywhere here): H to (H - 1) * stride - 2 * padding + kernel.
struct TransposedConv2d {
  index_t in = 0, out = 0;
  int kernel = 4, stride = 2, padding = 1;

  template <class T, class B>
  struct State {
    Parameter<T, 4, B> weight;
    template <class F>
    void visit(F&& f) {
      f("weight", weight);
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(in > 0 && out > 0 && kernel > 0 && stride > 0 && padding >= 0, describe(), ": extents must be positive");
    State<T, B> s{Parameter<T, 4, B>(Shape<4>{kernel, kernel, out, in})};
    initialise(s.weight, Init::he, kernel * kernel * in / (stride * stride), kernel * kernel * out, rng);
    return s;
  }
  template <class T, class B>
  Var<T, 4> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 4> x) const {
    return transposed_conv2d(pass.tape, {kernel, kernel, stride, padding}, x, s.weight.var(pass));
  }
  std::string describe() const {
    return detail::concat("TransposedConv2d(", in, ", ", out, ", kernel ", kernel, ", stride ", stride, ", padding ", padding, ")");
  }
};

}  // namespace retort::nn
