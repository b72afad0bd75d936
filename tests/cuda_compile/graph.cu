// The graph operations over the CUDA backend, instantiated: a header alone shows nvcc no body of a template.

#include <retort.cuh>

namespace retort {

template <class T>
Var<T, 1> graph_operations(Tape<T, Cuda>& tape, const GraphView<T>& graph, const CsrView& edges, Var<T, 2> x, Var<T, 2> weight, View<const std::int32_t, 1> segments) {
  auto y = propagate(tape, edges, dropout(tape, weight, 0.5f, Rng(1)), propagate(tape, graph, Norm::symmetric, x));
  y = edge_softmax(tape, edges, edge_sums(tape, edges, edge_products(tape, edges, y, x), y));
  y = add(tape, segment_mean(tape, segments, y), segment_max(tape, segments, y));
  y = sparse_linear(tape, edges, graph.feature_value, y, Var<T, 1>{});
  const auto loss = sum(tape, scatter_rows(tape, gather_rows(tape, y, segments), segments, x.extent(0)));
  tape.backward(loss);
  return loss;
}
template Var<float, 1> graph_operations(Tape<float, Cuda>&, const GraphView<float>&, const CsrView&, Var<float, 2>, Var<float, 2>, View<const std::int32_t, 1>);
template class source::Dataset::State<float, Cuda, NodeDataset>;

}  // namespace retort
