#pragma once
// Operations on sequences of unequal length: samples x positions x width with the number of positions that count.

#include <retort/autograd/ops_nn.hpp>

namespace retort {

/// How many positions of each sample count; memory of the tape's or longer-lived.
using SequenceLengths = View<const std::int32_t, 1>;

namespace detail {

template <class T>
struct EmbeddingBagRecord {
  Var<T, 2> table, out;
  View<const std::int32_t, 2> ids;
  SequenceLengths lengths;
  bool mean;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(table);
    Kernels<B>::embedding_bag_backward(tape.backend(), tape.gradient_of(out), ids, lengths, mean, to.view, to.write);
  }
};
template <class T>
struct WindowsRecord {
  Var<T, 3> x, out;
  SequenceLengths lengths;
  index_t kernel;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::windows_backward(tape.backend(), tape.gradient_of(out), lengths, kernel, to.view, to.write);
  }
};
template <class T>
struct MaxOverTimeRecord {
  Var<T, 3> x;
  Var<T, 2> out;
  const std::int32_t* index;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::max_over_time_backward(tape.backend(), tape.gradient_of(out), index, to.view, to.write);
  }
};
template <class T>
struct MeanOverTimeRecord {
  Var<T, 3> x;
  Var<T, 2> out;
  SequenceLengths lengths;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::mean_over_time_backward(tape.backend(), tape.gradient_of(out), lengths, to.view, to.write);
  }
};
template <class T>
struct LayerNormRecord {
  Var<T, 2> x;
  Var<T, 1> gamma, beta;
  Var<T, 2> out;
  const T *mean, *inverse;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto wanted = [&](auto v) { return v.slot ? tape.destination(v) : decltype(tape.destination(v)){{}, Write::replace}; };
    const auto g = wanted(gamma), b = wanted(beta);
    require<error>(!g.view.data == !b.view.data && g.write == b.write, "layer_norm: gamma and beta must be used together");
    const auto to = wanted(x);
    Kernels<B>::layer_norm_backward(tape.backend(), x.value, tape.gradient_of(out), gamma.value.data, mean, inverse, g.view.data, b.view.data, g.write,
                                    to.view, to.write);
  }
};
template <class T>
struct AttentionRecord {
  Var<T, 3> q, k, v, out;
  SequenceLengths lengths;
  index_t heads;
  const T* weights;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto wanted = [&](Var<T, 3> x) { return x.slot ? tape.destination(x) : Destination<T, 3>{{}, Write::replace}; };
    const auto dq = wanted(q), dk = wanted(k), dv = wanted(v);  // one after the other: where they are one variable, they add up
    Kernels<B>::attention_backward(tape.backend(), q.value, k.value, v.value, lengths, heads, weights, tape.gradient_of(out), dq.view, dq.write,
                                   dk.view, dk.write, dv.view, dv.write);
  }
};

inline void check_lengths(const char* op, SequenceLengths lengths, index_t samples, index_t positions) {
  require<shape_error>(lengths.size() == samples, op, ": ", samples, " samples, ", lengths.size(), " lengths");
  for (index_t n = 0; n < samples; ++n)
    require<value_error>(lengths(n) >= 0 && lengths(n) <= positions, op, ": sample ", n, " has length ", lengths(n), ", expected 0 to ", positions);
}

}  // namespace detail

/// Sum or mean of a table's rows over the first lengths[n] ids of each sample; N x width. `ids` and `lengths` must outlive the
/// backward pass. Throws shape_error, and value_error for an id that is not in the table.
template <class T, class B>
Var<T, 2> embedding_bag(Tape<T, B>& tape, Var<T, 2> table, View<const std::int32_t, 2> ids, SequenceLengths lengths, bool mean) {
  detail::check_lengths("embedding_bag", lengths, ids.extent(0), ids.extent(1));
  for (index_t n = 0; n < ids.extent(0); ++n)
    for (index_t t = 0; t < lengths(n); ++t)
      require<value_error>(ids(n, t) >= 0 && ids(n, t) < table.extent(0), "embedding_bag: id ", ids(n, t), " at position ", t, " of sample ", n,
                           ", the table has ", table.extent(0), " rows");
  const View<T, 2> y = tape.allocate(Shape<2>{ids.extent(0), table.extent(1)});
  Kernels<B>::embedding_bag(tape.backend(), table.value, ids, lengths, mean, y);
  const Var<T, 2> out = tape.result(y, table.slot);
  tape.record(detail::EmbeddingBagRecord<T>{table, out, ids, lengths, mean});
  return out;
}

/// Each position beside its neighbours: N x L x D to N x L x (kernel * D), centred, 0 outside the sample. A product with kernel * D
/// rows of weights makes it a 1-D convolution.
template <class T, class B>
Var<T, 3> windows(Tape<T, B>& tape, Var<T, 3> x, SequenceLengths lengths, index_t kernel) {
  detail::check_lengths("windows", lengths, x.extent(0), x.extent(1));
  require<value_error>(kernel >= 1, "windows: expected a kernel of at least 1, got ", kernel);
  const View<T, 3> y = tape.allocate(Shape<3>{x.extent(0), x.extent(1), kernel * x.extent(2)});
  Kernels<B>::windows(tape.backend(), x.value, lengths, kernel, y);
  const Var<T, 3> out = tape.result(y, x.slot);
  tape.record(detail::WindowsRecord<T>{x, out, lengths, kernel});
  return out;
}

/// Maximum of each channel over the sample's positions, N x D; 0 for an empty sample. Takes part in replay.
template <class T, class B>
Var<T, 2> max_over_time(Tape<T, B>& tape, Var<T, 3> x, SequenceLengths lengths) {
  using Kinks = typename Tape<T, B>::Kinks;
  detail::check_lengths("max_over_time", lengths, x.extent(0), x.extent(1));
  const View<T, 2> y = tape.allocate(Shape<2>{x.extent(0), x.extent(2)});
  std::int32_t* index = tape.kinks() == Kinks::live ? tape.template allocate_raw<std::int32_t>(y.size()) : tape.template kink_memory<std::int32_t>(y.size());
  if (tape.kinks() == Kinks::replay)
    Kernels<B>::max_over_time_replay(tape.backend(), x.value, y, index);
  else
    Kernels<B>::max_over_time(tape.backend(), x.value, lengths, y, index);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::MaxOverTimeRecord<T>{x, out, index});
  return out;
}

/// Mean of each channel over the sample's positions, N x D; 0 for an empty sample.
template <class T, class B>
Var<T, 2> mean_over_time(Tape<T, B>& tape, Var<T, 3> x, SequenceLengths lengths) {
  detail::check_lengths("mean_over_time", lengths, x.extent(0), x.extent(1));
  const View<T, 2> y = tape.allocate(Shape<2>{x.extent(0), x.extent(2)});
  Kernels<B>::mean_over_time(tape.backend(), x.value, lengths, y);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::MeanOverTimeRecord<T>{x, out, lengths});
  return out;
}

/// Layer normalisation (Ba et al. 2016) over the last axis: (x - mean) / sqrt(variance + epsilon) * gamma + beta, the variance biased.
/// Throws shape_error.
template <class T, class B, int R>
Var<T, R> layer_norm(Tape<T, B>& tape, Var<T, R> x_any, Var<T, 1> gamma, Var<T, 1> beta, std::type_identity_t<T> epsilon) {
  const index_t width = x_any.extent(R - 1), rows = x_any.size() / width;
  require<shape_error>(gamma.size() == width && beta.size() == width, "layer_norm: input of shape ", x_any.shape(), ", gamma of ", gamma.size(),
                       " and beta of ", beta.size(), " entries");
  const Var<T, 2> x{{x_any.value.data, {rows, width}}, x_any.slot};
  const View<T, R> y = tape.allocate(x_any.shape());
  T* mean = tape.template allocate_raw<T>(rows);
  T* inverse = tape.template allocate_raw<T>(rows);
  Kernels<B>::layer_norm(tape.backend(), x.value, gamma.value.data, beta.value.data, epsilon, View<T, 2>{y.data, {rows, width}}, mean, inverse);
  const Var<T, R> out = tape.result(y, x.slot || gamma.slot || beta.slot);
  tape.record(detail::LayerNormRecord<T>{x, gamma, beta, Var<T, 2>{{y.data, {rows, width}}, out.slot}, mean, inverse});
  return out;
}

/// Scaled dot-product attention with several heads (Vaswani et al. 2017): per head softmax(q k^T / sqrt(D / heads)) v over the sample's
/// own positions; results at the others are 0. All N x L x D. Throws shape_error when shapes differ or heads do not divide D.
template <class T, class B>
Var<T, 3> attention(Tape<T, B>& tape, Var<T, 3> q, Var<T, 3> k, Var<T, 3> v, SequenceLengths lengths, index_t heads) {
  require<shape_error>(q.shape() == k.shape() && q.shape() == v.shape() && heads >= 1 && q.extent(2) % heads == 0, "attention: queries ", q.shape(),
                       ", keys ", k.shape(), ", values ", v.shape(), ", ", heads, " heads");
  detail::check_lengths("attention", lengths, q.extent(0), q.extent(1));
  const View<T, 3> y = tape.allocate(q.shape());
  T* weights = tape.template allocate_raw<T>(q.extent(0) * heads * q.extent(1) * q.extent(1));
  Kernels<B>::attention(tape.backend(), q.value, k.value, v.value, lengths, heads, weights, y);
  const Var<T, 3> out = tape.result(y, q.slot || k.slot || v.slot);
  tape.record(detail::AttentionRecord<T>{q, k, v, out, lengths, heads, weights});
  return out;
}

}  // namespace retort
