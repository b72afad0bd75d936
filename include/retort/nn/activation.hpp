#pragma once

#include <retort/nn/layer.hpp>

namespace retort::nn {

/// An element-wise functor as a layer.
template <class F>
struct Activation : Stateless {
  F f{};
  constexpr Activation() = default;
  explicit constexpr Activation(F functor) : f(functor) {}

  template <class T, class B, int R>
  Var<T, R> forward(NoState&, Pass<T, B>& pass, Var<T, R> x) const {
    return activate(pass.tape, f, x);
  }
  std::string describe() const { return "Activation"; }
};

struct Relu : Activation<functor::Relu> {
  std::string describe() const { return "Relu"; }
};
struct LeakyRelu : Activation<functor::LeakyRelu> {
  /// `slope` of the negative side; 0.2 in GAN-style generators.
  explicit constexpr LeakyRelu(float slope = 0.01f) : Activation(functor::LeakyRelu{slope}) {}
  std::string describe() const { return detail::concat("LeakyRelu(", f.slope, ")"); }
};
struct Gelu : Activation<functor::Gelu> {
  std::string describe() const { return "Gelu"; }
};
struct Tanh : Activation<functor::Tanh> {
  std::string describe() const { return "Tanh"; }
};
struct Sigmoid : Activation<functor::Sigmoid> {
  std::string describe() const { return "Sigmoid"; }
};

struct Silu : Activation<functor::Silu> {
  std::string describe() const { return "Silu"; }
};

/// Row-wise softmax and log-softmax.
struct Softmax : Stateless {
  template <class T, class B>
  Var<T, 2> forward(NoState&, Pass<T, B>& pass, Var<T, 2> x) const {
    return softmax(pass.tape, x);
  }
  std::string describe() const { return "Softmax"; }
};
struct LogSoftmax : Stateless {
  template <class T, class B>
  Var<T, 2> forward(NoState&, Pass<T, B>& pass, Var<T, 2> x) const {
    return log_softmax(pass.tape, x);
  }
  std::string describe() const { return "LogSoftmax"; }
};

/// Zeroes a share `p` of the values while training, scaling the rest by 1/(1-p).
struct Dropout : Stateless {
  float p = 0.5f;
  explicit constexpr Dropout(float probability = 0.5f) : p(probability) {}
  template <class T, class B, int R>
  Var<T, R> forward(NoState&, Pass<T, B>& pass, Var<T, R> x) const {
    return pass.train && p > 0 ? dropout(pass.tape, x, p, pass.next_rng()) : x;
  }
  std::string describe() const { return detail::concat("Dropout(", p, ")"); }
};

}  // namespace retort::nn
