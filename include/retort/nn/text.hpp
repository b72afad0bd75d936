#pragma once
// Layers over text. A network takes N x L token ids stored as values (data::tokens); the id 0 fills a row's end and counts for
// nothing: results do not depend on how much of it there is. Positions behind the batch's longest sentence are not computed.

#include <retort/autograd/ops_sequence.hpp>
#include <retort/nn/linear.hpp>
#include <retort/nn/sequential.hpp>

namespace retort::nn {

/// What flows between layers over text: samples x positions x width, and how many positions of each sample count.
template <class T>
struct Sequence {
  Var<T, 3> value;
  SequenceLengths lengths;

  /// The same lengths with other values.
  Sequence with(Var<T, 3> other) const { return {other, lengths}; }
  index_t positions() const { return value.extent(0) * value.extent(1); }
  /// All positions as rows.
  template <class B>
  Var<T, 2> rows(Tape<T, B>& tape) const {
    return reshape(tape, value, Shape<2>{positions(), value.extent(2)});
  }
  /// Rows, one per position, in place of the values.
  template <class B>
  Sequence with_rows(Tape<T, B>& tape, Var<T, 2> rows) const {
    return with(reshape(tape, rows, Shape<3>{value.extent(0), value.extent(1), rows.extent(1)}));
  }
};

}  // namespace retort::nn

namespace retort::detail {
/// Ids as integers without the columns that are padding in all rows, and the lengths of the rows.
struct TokenIds {
  View<const std::int32_t, 2> ids;
  SequenceLengths lengths;
};
template <class T, class B>
TokenIds token_ids(Tape<T, B>& tape, Var<T, 2> input, index_t tokens) {
  static_assert(B::host_accessible, "retort: layers over text read the token ids on the host; use the CPU backend");
  const index_t n = input.extent(0);
  auto* lengths = tape.template allocate_raw<std::int32_t>(n);
  index_t longest = 1;
  for (index_t i = 0; i < n; ++i) {
    index_t length = input.extent(1);
    while (length > 0 && input.value(i, length - 1) == T(0)) --length;
    lengths[i] = static_cast<std::int32_t>(length);
    longest = std::max(longest, length);
  }
  auto* ids = tape.template allocate_raw<std::int32_t>(n * longest);
  for (index_t i = 0; i < n; ++i)
    for (index_t t = 0; t < longest; ++t) {
      const T id = input.value(i, t);
      require<value_error>(id >= T(0) && id < static_cast<T>(tokens) && id == std::floor(id), "text: token ", t, " of sample ", i, " is ", id,
                           ", expected a whole number from 0 to ", tokens - 1);
      ids[i * longest + t] = static_cast<std::int32_t>(id);
    }
  return {{ids, {n, longest}}, {lengths, {n}}};
}
}  // namespace retort::detail

namespace retort::nn {

/// The mean (or sum) of a sentence's token vectors: N x L ids to N x width. A bag of words with a linear map in one step.
struct EmbeddingBag {
  index_t tokens = 0, width = 0;
  bool mean = true;

  template <class T, class B>
  using State = Embedding::State<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return random_table<T, B>(describe(), tokens, width, rng);
  }
  /// Throws value_error when an id leaves the table or is no whole number.
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> input) const {
    const auto in = retort::detail::token_ids(pass.tape, input, tokens);
    return embedding_bag(pass.tape, s.table.var(pass), in.ids, in.lengths, mean);
  }
  std::string describe() const { return retort::detail::concat("EmbeddingBag(", tokens, ", ", width, mean ? ", mean)" : ", sum)"); }

  /// Standard normal entries over the square root of the width: token vectors of length about 1.
  template <class T, class B>
  static State<T, B> random_table(const std::string& who, index_t rows, index_t columns, Rng& rng) {
    require<value_error>(rows > 0 && columns > 0, who, ": both extents must be positive");
    State<T, B> s{Parameter<T, 2, B>(Shape{rows, columns})};
    for (T& w : s.table.value) w = static_cast<T>(rng.normal() / std::sqrt(static_cast<double>(columns)));
    return s;
  }
};

/// Token vectors, plus learned vectors of the positions where `positions` (the most that a sentence may have) is given: N x L ids to a
/// Sequence.
struct TokenEmbedding {
  index_t tokens = 0, width = 0, positions = 0;

  template <class T, class B>
  struct State {
    Parameter<T, 2, B> table, place;
    template <class F>
    void visit(F&& f) {
      f("table", table);
      if (!place.value.empty()) f("place", place);
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    State<T, B> s{EmbeddingBag::random_table<T, B>(describe(), tokens, width, rng).table, {}};
    if (positions > 0) s.place = EmbeddingBag::random_table<T, B>(describe(), positions, width, rng).table;
    return s;
  }
  /// Throws value_error when an id leaves the table or is no whole number, shape_error for a sentence longer than `positions`.
  template <class T, class B>
  Sequence<T> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> input) const {
    auto& tape = pass.tape;
    const auto in = retort::detail::token_ids(tape, input, tokens);
    const index_t n = in.ids.extent(0), length = in.ids.extent(1);
    const auto rows = gather_rows(tape, s.table.var(pass), View<const std::int32_t, 1>{in.ids.data, {n * length}});
    Var<T, 3> x = reshape(tape, rows, Shape<3>{n, length, width});
    if (positions > 0) {
      require<shape_error>(length <= positions, "nn::TokenEmbedding: a sentence of ", length, " tokens, there are ", positions, " positions");
      auto* at = tape.template allocate_raw<std::int32_t>(length);
      for (index_t t = 0; t < length; ++t) at[t] = static_cast<std::int32_t>(t);
      const auto place = gather_rows(tape, s.place.var(pass), View<const std::int32_t, 1>{at, {length}});
      x = add(tape, x, reshape(tape, place, Shape<3>{1, length, width}));
    }
    return {x, in.lengths};
  }
  std::string describe() const { return retort::detail::concat("TokenEmbedding(", tokens, ", ", width, ", ", positions, " positions)"); }
};

/// A layer over rows (Linear, Dropout, an activation) at every position of a Sequence.
template <class Layer>
struct Positionwise {
  Layer layer{};

  template <class T, class B>
  using State = typename Layer::template State<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    return layer.template make<T, B>(rng);
  }
  template <class T, class B>
  Sequence<T> forward(State<T, B>& s, Pass<T, B>& pass, Sequence<T> x) const {
    return x.with_rows(pass.tape, layer.forward(s, pass, x.rows(pass.tape)));
  }
  std::string describe() const { return "Positionwise(" + layer.describe() + ")"; }
};

/// 1-D convolution over the positions of a Sequence, centred, zero outside the sentence.
struct Conv1d {
  index_t in = 0, out = 0;
  int kernel = 3;
  static constexpr bool fuses_relu = true;

  template <class T, class B>
  using State = Linear::State<T, B>;
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(in > 0 && out > 0 && kernel > 0, describe(), ": extents must be positive");
    return product().template make<T, B>(rng);
  }
  template <class T, class B>
  Sequence<T> forward(State<T, B>& s, Pass<T, B>& pass, Sequence<T> x, Epilogue epilogue = Epilogue::none) const {
    const Sequence<T> wide = x.with(windows(pass.tape, x.value, x.lengths, kernel));
    return x.with_rows(pass.tape, product().forward(s, pass, wide.rows(pass.tape), epilogue));
  }
  std::string describe() const { return retort::detail::concat("Conv1d(", in, ", ", out, ", kernel ", kernel, ")"); }

 private:
  Linear product() const { return {.in = in * kernel, .out = out}; }
};

/// A Sequence to its largest value per channel, or to its mean: N x width. An empty sentence gives zeros.
struct MaxOverTime : Stateless {
  template <class T, class B>
  Var<T, 2> forward(NoState&, Pass<T, B>& pass, Sequence<T> x) const {
    return max_over_time(pass.tape, x.value, x.lengths);
  }
  std::string describe() const { return "MaxOverTime"; }
};
struct MeanOverTime : Stateless {
  template <class T, class B>
  Var<T, 2> forward(NoState&, Pass<T, B>& pass, Sequence<T> x) const {
    return mean_over_time(pass.tape, x.value, x.lengths);
  }
  std::string describe() const { return "MeanOverTime"; }
};

/// Convolutions of several widths side by side, each with ReLU and maximum over time (Kim 2014): a Sequence to N x (out * kernels).
struct ConvolutionBank {
  index_t in = 0, out = 0;  ///< out: channels of each kernel
  std::vector<int> kernels{3, 4, 5};

  template <class T, class B>
  struct State {
    std::vector<Linear::State<T, B>> states;
    template <class F>
    void visit(F&& f) {
      for (std::size_t i = 0; i < states.size(); ++i) states[i].visit(under(f, std::to_string(i) + "."));
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(!kernels.empty(), describe(), ": expected at least one kernel");
    State<T, B> s;
    for (const int k : kernels) s.states.push_back(Conv1d{in, out, k}.template make<T, B>(rng));
    return s;
  }
  template <class T, class B>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Sequence<T> x) const {
    const auto one = [&](std::size_t i) {
      return max_over_time(pass.tape, Conv1d{in, out, kernels[i]}.forward(s.states[i], pass, x, Epilogue::relu).value, x.lengths);
    };
    Var<T, 2> all = one(0);
    for (std::size_t i = 1; i < kernels.size(); ++i) all = concat(pass.tape, all, one(i));
    return all;
  }
  std::string describe() const {
    std::string text = retort::detail::concat("ConvolutionBank(", in, ", ", out, ", kernels");
    for (const int k : kernels) (text += ' ') += std::to_string(k);
    return text += ')';
  }
};

/// Layer normalisation of the last axis, of a Sequence or of any value.
struct LayerNorm {
  index_t width = 0;
  float epsilon = 1e-5f;

  template <class T, class B>
  struct State {
    Parameter<T, 1, B> gamma, beta;
    template <class F>
    void visit(F&& f) {
      f("gamma", gamma);
      f("beta", beta);
    }
  };
  template <class T, class B>
  State<T, B> make(Rng&) const {
    require<value_error>(width > 0, describe(), ": the width must be positive");
    State<T, B> s{Parameter<T, 1, B>(Shape{width}), Parameter<T, 1, B>(Shape{width})};
    const std::vector<T> ones(static_cast<std::size_t>(width), T(1));
    B::copy(s.gamma.value.data(), ones.data(), ones.size() * sizeof(T));
    return s;
  }
  template <class T, class B, int R>
  Var<T, R> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, R> x) const {
    return layer_norm(pass.tape, x, s.gamma.var(pass), s.beta.var(pass), T(epsilon));
  }
  template <class T, class B>
  Sequence<T> forward(State<T, B>& s, Pass<T, B>& pass, Sequence<T> x) const {
    return x.with(forward(s, pass, x.value));
  }
  std::string describe() const { return retort::detail::concat("LayerNorm(", width, ")"); }
};

/// Self-attention with several heads over a Sequence (Vaswani et al. 2017): four linear maps of the width, `heads` divides it.
struct MultiHeadAttention {
  index_t width = 0, heads = 1;

  template <class T, class B>
  struct State {
    Linear::State<T, B> query, key, value, out;
    template <class F>
    void visit(F&& f) {
      query.visit(under(f, "query."));
      key.visit(under(f, "key."));
      value.visit(under(f, "value."));
      out.visit(under(f, "out."));
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(width > 0 && heads > 0 && width % heads == 0, describe(), ": the heads must divide the width");
    const auto one = [&] { return map().template make<T, B>(rng); };
    auto q = one(), k = one(), v = one();
    return {std::move(q), std::move(k), std::move(v), one()};
  }
  template <class T, class B>
  Sequence<T> forward(State<T, B>& s, Pass<T, B>& pass, Sequence<T> x) const {
    auto& tape = pass.tape;
    const auto rows = x.rows(tape);
    const auto mapped = [&](Linear::State<T, B>& state, Var<T, 2> r) { return x.with_rows(tape, map().forward(state, pass, r)); };
    const auto q = mapped(s.query, rows), k = mapped(s.key, rows), v = mapped(s.value, rows);
    const auto mixed = x.with(attention(tape, q.value, k.value, v.value, x.lengths, heads));
    return mapped(s.out, mixed.rows(tape));
  }
  std::string describe() const { return retort::detail::concat("MultiHeadAttention(", width, ", ", heads, " heads)"); }

 private:
  Linear map() const { return {.in = width, .out = width, .init = Init::glorot}; }
};

/// One encoder block in the pre-norm form: x + attention(norm(x)), then x + W2 gelu(W1 norm(x)). nn::Repeat of it is an encoder.
struct TransformerBlock {
  index_t width = 0, heads = 1, hidden = 0;
  float dropout = 0;  ///< of both branches, while training

  template <class T, class B>
  struct State {
    LayerNorm::State<T, B> first, second;
    MultiHeadAttention::State<T, B> attention;
    Linear::State<T, B> up, down;
    template <class F>
    void visit(F&& f) {
      first.visit(under(f, "first."));
      attention.visit(under(f, "attention."));
      second.visit(under(f, "second."));
      up.visit(under(f, "up."));
      down.visit(under(f, "down."));
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    auto first = norm().template make<T, B>(rng), second = norm().template make<T, B>(rng);
    auto mixing = mixer().template make<T, B>(rng);
    auto up = widen().template make<T, B>(rng);
    return {std::move(first), std::move(second), std::move(mixing), std::move(up), narrow().template make<T, B>(rng)};
  }
  template <class T, class B>
  Sequence<T> forward(State<T, B>& s, Pass<T, B>& pass, Sequence<T> x) const {
    auto& tape = pass.tape;
    const auto drop = [&](Var<T, 3> v) { return pass.train && dropout > 0 ? retort::dropout(tape, v, dropout, pass.next_rng()) : v; };
    x.value = add(tape, x.value, drop(mixer().forward(s.attention, pass, norm().forward(s.first, pass, x)).value));
    const auto inner = activate(tape, functor::Gelu{}, widen().forward(s.up, pass, norm().forward(s.second, pass, x).rows(tape)));
    x.value = add(tape, x.value, drop(x.with_rows(tape, narrow().forward(s.down, pass, inner)).value));
    return x;
  }
  std::string describe() const { return retort::detail::concat("TransformerBlock(", width, ", ", heads, " heads, ", hidden, ", dropout ", dropout, ")"); }

 private:
  LayerNorm norm() const { return {width}; }
  MultiHeadAttention mixer() const { return {width, heads}; }
  Linear widen() const { return {.in = width, .out = hidden, .init = Init::glorot}; }
  Linear narrow() const { return {.in = hidden, .out = width, .init = Init::glorot}; }
};

}  // namespace retort::nn
