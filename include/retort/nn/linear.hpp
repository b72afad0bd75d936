#pragma once

#include <retort/nn/layer.hpp>

namespace retort::nn {

/// Fully connected layer, N x in to N x out. Inputs of higher rank are flattened per sample.
struct Linear {
  index_t in = 0, out = 0;
  bool bias = true;
  Init init = Init::he;
  static constexpr bool fuses_relu = true;

  template <class T, class B>
  struct State {
    Parameter<T, 2, B> weight;
    Parameter<T, 1, B> bias;
    template <class F>
    void visit(F&& f) {
      f("weight", weight);
      if (!bias.value.empty()) f("bias", bias);
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(in > 0 && out > 0, describe(), ": both extents must be positive");
    State<T, B> s{Parameter<T, 2, B>(Shape{in, out}), bias ? Parameter<T, 1, B>(Shape{out}) : Parameter<T, 1, B>()};
    initialise(s.weight, init, in, out, rng);
    return s;
  }
  template <class T, class B, int R>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, R> x, Epilogue epilogue = Epilogue::none) const {
    return linear(pass.tape, flatten(pass.tape, x), s.weight.var(pass), bias ? s.bias.var(pass) : no_bias<T>(), epilogue);
  }
  std::string describe() const { return detail::concat("Linear(", in, ", ", out, bias ? ")" : ", no bias)"); }
};

/// Rows of a table by token. Input: N x L token ids stored as values; output N x L*width.
struct Embedding {
  index_t tokens = 0, width = 0;

  template <class T, class B>
  struct State {
    Parameter<T, 2, B> table;
    template <class F>
    void visit(F&& f) {
      f("table", table);
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(tokens > 0 && width > 0, describe(), ": both extents must be positive");
    State<T, B> s{Parameter<T, 2, B>(Shape{tokens, width})};
    initialise(s.table, Init::glorot, tokens, width, rng);
    return s;
  }
  /// Throws value_error when an id leaves the table.
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> ids) const {
    const auto numbers = pass.tape.on_host(ids.value);
    const View<const std::int32_t, 1> index = pass.tape.template from_host<std::int32_t>(Shape<1>{ids.size()}, [&](View<std::int32_t, 1> to) {
      for (index_t i = 0; i < ids.size(); ++i) to(i) = static_cast<std::int32_t>(numbers.data[i]);
    });
    const auto rows = gather_rows(pass.tape, s.table.var(pass), index);
    return reshape(pass.tape, rows, Shape<2>{ids.extent(0), ids.extent(1) * width});
  }
  std::string describe() const { return detail::concat("Embedding(", tokens, ", ", width, ")"); }
};

}  // namespace retort::nn
