#pragma once
// Operations on the nodes and edges of a graph. Edge values are entries x heads; what a graph passes in must outlive the
// backward pass.

#include <retort/autograd/ops_nn.hpp>
#include <retort/graph/batch.hpp>

namespace retort {

namespace detail {

template <class T>
struct PropagateRecord {
  CsrView edges;
  const T* t_weight;
  Var<T, 2> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::spmm(tape.backend(), edges.columns, edges.t_ptr, edges.t_col, t_weight, nullptr, 1, tape.gradient_of(out), to.view, to.write);
  }
};
template <class T>
struct WeightedPropagateRecord {
  CsrView edges;
  Var<T, 2> w, x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto dy = tape.gradient_of(out);
    const int heads = static_cast<int>(w.extent(1));
    if (w.slot) {
      const auto to = tape.destination(w);
      Kernels<B>::sddmm(tape.backend(), edges.rows, edges.ptr, edges.col, heads, dy, x.value, to.view.flat(), to.write);
    }
    if (x.slot) {
      const auto to = tape.destination(x);
      Kernels<B>::spmm(tape.backend(), edges.columns, edges.t_ptr, edges.t_col, w.value.data, edges.t_entry, heads, dy, to.view, to.write);
    }
  }
};
template <class T>
struct EdgeProductRecord {
  CsrView edges;
  Var<T, 2> a, b, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto ds = tape.gradient_of(out);
    const int heads = static_cast<int>(out.extent(1));
    if (a.slot) {
      const auto to = tape.destination(a);
      Kernels<B>::spmm(tape.backend(), edges.rows, edges.ptr, edges.col, ds.data, nullptr, heads, b.value, to.view, to.write);
    }
    if (b.slot) {
      const auto to = tape.destination(b);
      Kernels<B>::spmm(tape.backend(), edges.columns, edges.t_ptr, edges.t_col, ds.data, edges.t_entry, heads, a.value, to.view, to.write);
    }
  }
};
template <class T>
struct EdgeSumRecord {
  CsrView edges;
  Var<T, 2> source, target, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto de = tape.gradient_of(out);
    if (source.slot) {
      const auto to = tape.destination(source);
      Kernels<B>::row_sums(tape.backend(), edges.columns, edges.t_ptr, edges.t_entry, de, to.view, to.write);
    }
    if (target.slot) {
      const auto to = tape.destination(target);
      Kernels<B>::row_sums(tape.backend(), edges.rows, edges.ptr, nullptr, de, to.view, to.write);
    }
  }
};
template <class T>
struct EdgeSoftmaxRecord {
  CsrView edges;
  Var<T, 2> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::segment_softmax_backward(tape.backend(), edges.rows, edges.ptr, out.value, tape.gradient_of(out), to.view, to.write);
  }
};
template <class T>
struct SegmentSumRecord {
  View<const std::int32_t, 1> ptr;
  bool mean;
  Var<T, 2> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::segment_sum_backward(tape.backend(), ptr.size() - 1, ptr.data, mean, tape.gradient_of(out), to.view, to.write);
  }
};
template <class T>
struct SegmentMaxRecord {
  const std::int32_t* winner;
  Var<T, 2> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::segment_max_backward(tape.backend(), out.extent(0), winner, tape.gradient_of(out), to.view, to.write);
  }
};
template <class T>
struct SparseLinearRecord {
  CsrView x;
  const T* value;
  Var<T, 2> w;
  Var<T, 1> bias;
  Var<T, 2> out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto dy = tape.gradient_of(out);
    if (bias.slot) {
      const auto to = tape.destination(bias);
      Kernels<B>::column_sum(tape.backend(), dy, to.view.data, to.write);
    }
    if (w.slot) {
      const auto to = tape.destination(w);
      Kernels<B>::spmm(tape.backend(), x.columns, x.t_ptr, x.t_col, value, x.t_entry, 1, dy, to.view, to.write);
    }
  }
};
template <class T>
struct ScatterRecord {
  View<const std::int32_t, 1> index;
  Var<T, 2> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    if (to.write == Write::replace) return Kernels<B>::gather_rows(tape.backend(), tape.gradient_of(out), index, to.view);
    const View<T, 2> rows = tape.allocate(x.shape());
    Kernels<B>::gather_rows(tape.backend(), tape.gradient_of(out), index, rows);
    Kernels<B>::accumulate(tape.backend(), T(1), View<const T, 1>(rows.flat()), to.view.flat(), Write::add);
  }
};

template <class T>
void check_nodes(const char* op, const Var<T, 2>& x, index_t nodes) {
  require<shape_error>(x.extent(0) == nodes, op, ": values of shape ", to_string(x.shape()), " for a graph of ", nodes, " nodes");
}
inline void check_segments(const char* op, View<const std::int32_t, 1> ptr, index_t rows) {
  require<shape_error>(ptr.size() >= 2 && ptr.data[0] == 0 && ptr.data[ptr.size() - 1] == rows, op, ": expected segments that begin at 0 and end at ", rows,
                       " rows, got ", ptr.size() - 1, " of them", ptr.size() ? ", to row " : "", ptr.size() ? std::to_string(ptr.data[ptr.size() - 1]) : "");
}
}  // namespace detail

/// Sums over what each node hears, by fixed weights: y_v = sum_u weight_uv x_u. Throws shape_error.
template <class T, class B>
Var<T, 2> propagate(Tape<T, B>& tape, const GraphView<T>& graph, Norm norm, Var<T, 2> x) {
  detail::check_nodes("propagate", x, graph.nodes());
  const View<T, 2> y = tape.allocate(x.shape());
  Kernels<B>::spmm(tape.backend(), graph.edges.rows, graph.edges.ptr, graph.edges.col, graph.weights(norm), nullptr, 1, x.value, y, Write::replace);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::PropagateRecord<T>{graph.edges, graph.transposed_weights(norm), x, out});
  return out;
}
/// The same by weights of the tape's, entries x heads; each head acts on its share of the columns. Throws shape_error.
template <class T, class B>
Var<T, 2> propagate(Tape<T, B>& tape, const CsrView& edges, Var<T, 2> weights, Var<T, 2> x) {
  detail::check_nodes("propagate", x, edges.columns);
  require<shape_error>(weights.extent(0) == edges.entries && x.extent(1) % weights.extent(1) == 0, "propagate: weights of shape ", to_string(weights.shape()),
                       " for ", edges.entries, " entries and values of shape ", to_string(x.shape()), "; the heads must divide the columns");
  const View<T, 2> y = tape.allocate(Shape<2>{edges.rows, x.extent(1)});
  Kernels<B>::spmm(tape.backend(), edges.rows, edges.ptr, edges.col, weights.value.data, nullptr, static_cast<int>(weights.extent(1)), x.value, y, Write::replace);
  const Var<T, 2> out = tape.result(y, weights.slot || x.slot);
  tape.record(detail::WeightedPropagateRecord<T>{edges, weights, x, out});
  return out;
}

/// Inner products along edges: s_uv = a_v . b_u, entries x heads. Throws shape_error.
template <class T, class B>
Var<T, 2> edge_products(Tape<T, B>& tape, const CsrView& edges, Var<T, 2> a, Var<T, 2> b, int heads = 1) {
  detail::check_nodes("edge_products", a, edges.rows);
  detail::check_nodes("edge_products", b, edges.columns);
  require<shape_error>(a.extent(1) == b.extent(1) && heads >= 1 && a.extent(1) % heads == 0, "edge_products: shapes ", to_string(a.shape()), " and ",
                       to_string(b.shape()), " with ", heads, " heads");
  const View<T, 2> s = tape.allocate(Shape<2>{edges.entries, heads});
  Kernels<B>::sddmm(tape.backend(), edges.rows, edges.ptr, edges.col, heads, a.value, b.value, s.flat(), Write::replace);
  const Var<T, 2> out = tape.result(s, a.slot || b.slot);
  tape.record(detail::EdgeProductRecord<T>{edges, a, b, out});
  return out;
}

/// Sums along edges: e_uv = source_u + target_v, nodes x heads each to entries x heads. An empty target counts as 0.
template <class T, class B>
Var<T, 2> edge_sums(Tape<T, B>& tape, const CsrView& edges, Var<T, 2> source, Var<T, 2> target = {}) {
  detail::check_nodes("edge_sums", source, edges.columns);
  require<shape_error>(!target.value.data || target.shape() == Shape<2>{edges.rows, source.extent(1)}, "edge_sums: shapes ", to_string(source.shape()), " and ",
                       to_string(target.shape()));
  const View<T, 2> e = tape.allocate(Shape<2>{edges.entries, source.extent(1)});
  Kernels<B>::entry_sums(tape.backend(), edges.rows, edges.ptr, edges.col, source.value, target.value, e);
  const Var<T, 2> out = tape.result(e, source.slot || target.slot);
  tape.record(detail::EdgeSumRecord<T>{edges, source, target, out});
  return out;
}

/// Softmax over the entries of each row (what a node hears), for each head.
template <class T, class B>
Var<T, 2> edge_softmax(Tape<T, B>& tape, const CsrView& edges, Var<T, 2> scores) {
  require<shape_error>(scores.extent(0) == edges.entries, "edge_softmax: scores of shape ", to_string(scores.shape()), " for ", edges.entries, " entries");
  const View<T, 2> w = tape.allocate(scores.shape());
  Kernels<B>::segment_softmax(tape.backend(), edges.rows, edges.ptr, scores.value, w);
  const Var<T, 2> out = tape.result(w, scores.slot);
  tape.record(detail::EdgeSoftmaxRecord<T>{edges, scores, out});
  return out;
}

namespace detail {
template <class T, class B>
Var<T, 2> segment_sum(Tape<T, B>& tape, View<const std::int32_t, 1> ptr, Var<T, 2> x, bool mean) {
  if constexpr (B::host_accessible) check_segments(mean ? "segment_mean" : "segment_sum", ptr, x.extent(0));
  const View<T, 2> y = tape.allocate(Shape<2>{ptr.size() - 1, x.extent(1)});
  Kernels<B>::segment_sum(tape.backend(), ptr.size() - 1, ptr.data, mean, x.value, y);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(SegmentSumRecord<T>{ptr, mean, x, out});
  return out;
}
}  // namespace detail

/// Sum, mean and maximum (by column) over segments of rows, ptr[g] to ptr[g + 1]. A segment without rows gives 0. The maximum
/// takes the first of equal rows and takes part in replay. Throws shape_error when the segments do not cover the rows.
template <class T, class B>
Var<T, 2> segment_sum(Tape<T, B>& tape, View<const std::int32_t, 1> ptr, Var<T, 2> x) { return detail::segment_sum(tape, ptr, x, false); }
template <class T, class B>
Var<T, 2> segment_mean(Tape<T, B>& tape, View<const std::int32_t, 1> ptr, Var<T, 2> x) { return detail::segment_sum(tape, ptr, x, true); }
template <class T, class B>
Var<T, 2> segment_max(Tape<T, B>& tape, View<const std::int32_t, 1> ptr, Var<T, 2> x) {
  if constexpr (B::host_accessible) detail::check_segments("segment_max", ptr, x.extent(0));
  using Kinks = typename Tape<T, B>::Kinks;
  const View<T, 2> y = tape.allocate(Shape<2>{ptr.size() - 1, x.extent(1)});
  auto* winner = tape.kinks() == Kinks::live ? tape.template allocate_raw<std::int32_t>(y.size()) : tape.template kink_memory<std::int32_t>(y.size());
  Kernels<B>::segment_max(tape.backend(), ptr.size() - 1, ptr.data, tape.kinks() == Kinks::replay, x.value, y, winner);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::SegmentMaxRecord<T>{winner, x, out});
  return out;
}

/// x w + bias for sparse constant inputs x, `value` in the order of the pattern. Throws shape_error.
template <class T, class B>
Var<T, 2> sparse_linear(Tape<T, B>& tape, const CsrView& x, const T* value, Var<T, 2> w, Var<T, 1> bias) {
  require<shape_error>(w.extent(0) == x.columns && (!bias.value.data || bias.size() == w.extent(1)), "sparse_linear: inputs (", x.rows, ", ", x.columns,
                       "), weights ", to_string(w.shape()), ", bias ", to_string(bias.shape()));
  View<T, 2> y = tape.allocate(Shape<2>{x.rows, w.extent(1)});
  if (bias.value.data) Kernels<B>::repeat_axis(tape.backend(), 0, View<const T, 2>{bias.value.data, {1, bias.size()}}, y, Write::replace);
  Kernels<B>::spmm(tape.backend(), x.rows, x.ptr, x.col, value, nullptr, 1, w.value, y, bias.value.data ? Write::add : Write::replace);
  const Var<T, 2> out = tape.result(y, w.slot || bias.slot);
  tape.record(detail::SparseLinearRecord<T>{x, value, w, bias, out});
  return out;
}

/// y of `rows` rows with y[index[i]] += x[i]: the adjoint of gather_rows. `index` must outlive the backward pass. Throws
/// shape_error unless there is an index per row, value_error when one leaves y; on a device such a row is left out, and its
/// gradient is NaN.
template <class T, class B>
Var<T, 2> scatter_rows(Tape<T, B>& tape, Var<T, 2> x, View<const std::int32_t, 1> index, index_t rows) {
  require<shape_error>(index.size() == x.extent(0), "scatter_rows: ", index.size(), " indices for a value of shape ", to_string(x.shape()));
  for (index_t i = 0; B::host_accessible && i < index.size(); ++i)
    require<value_error>(index.data[i] >= 0 && index.data[i] < rows, "scatter_rows: index ", index.data[i], " at position ", i, ", the result has ", rows, " rows");
  const View<T, 2> y = tape.allocate(Shape<2>{rows, x.extent(1)});
  Kernels<B>::scatter_add_rows(tape.backend(), x.value, index, y, Write::replace);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::ScatterRecord<T>{index, x, out});
  return out;
}

}  // namespace retort
