#pragma once

#include <retort/nn/layer.hpp>

namespace retort::nn {

/// Batch normalisation over all axes but the last. `momentum` is the share of the new batch in the running statistics.
struct BatchNorm {
  index_t channels = 0;
  float momentum = 0.1f, epsilon = 1e-5f;
  static constexpr bool fuses_relu = true;

  template <class T, class B>
  struct State {
    Parameter<T, 1, B> gamma, beta;
    Buffer<T, B> running_mean, running_variance;
    template <class F>
    void visit(F&& f) {
      f("gamma", gamma);
      f("beta", beta);
      f("running_mean", running_mean);
      f("running_variance", running_variance);
    }
  };
  template <class T, class B>
  State<T, B> make(Rng&) const {
    require<value_error>(channels > 0, describe(), ": the number of channels must be positive");
    State<T, B> s{Parameter<T, 1, B>(Shape{channels}), Parameter<T, 1, B>(Shape{channels}),
                  {Tensor<T, 1, B>(Shape{channels})}, {Tensor<T, 1, B>(Shape{channels})}};
    const std::vector<T> ones(static_cast<std::size_t>(channels), T(1));
    B::copy(s.gamma.value.data(), ones.data(), ones.size() * sizeof(T));
    B::copy(s.running_variance.value.data(), ones.data(), ones.size() * sizeof(T));
    return s;
  }
  template <class T, class B, int R>
  Var<T, R> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, R> x, Epilogue epilogue = Epilogue::none) const {
    if (pass.observer)
      pass.observer->seen.push_back({reshape(pass.tape, x, Shape<2>{x.size() / channels, channels}), x.extent(0),
                                     s.running_mean.value.view(), s.running_variance.value.view()});
    return batch_norm(pass.tape, x, s.gamma.var(pass), s.beta.var(pass), s.running_mean.value.view(),
                      s.running_variance.value.view(), T(momentum), T(epsilon), pass.statistics, epilogue);
  }
  std::string describe() const { return detail::concat("BatchNorm(", channels, ")"); }
};

}  // namespace retort::nn
