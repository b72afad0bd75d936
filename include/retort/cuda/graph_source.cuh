#pragma once
// The graph of a NodeDataset in device memory, as source::Dataset hands it to networks on the CUDA backend. No kernels.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <retort/cuda/context.hpp>
#include <retort/source/graph.hpp>

namespace retort {
namespace cuda {

/// Arrays copied to the device, kept as long as their owner.
class Copies {
 public:
  template <class V>
  const V* operator()(const V* from, index_t count) {
    if (!from || count == 0) return nullptr;
    const auto bytes = static_cast<index_t>(sizeof(V)) * count;
    kept_.emplace_back(Shape{bytes});
    Cuda::copy(kept_.back().data(), from, static_cast<std::size_t>(bytes));
    return reinterpret_cast<const V*>(kept_.back().data());
  }
  template <class V, int R>
  View<const V, R> operator()(View<const V, R> from) { return {(*this)(from.data, from.size()), from.shape}; }
  CsrView operator()(const CsrView& p) {
    const index_t n = p.entries;
    return {p.rows, p.columns, n, (*this)(p.ptr, p.rows + 1), (*this)(p.col, n), (*this)(p.t_ptr, p.columns + 1), (*this)(p.t_col, n), (*this)(p.t_entry, n)};
  }

 private:
  std::vector<Tensor<std::uint8_t, 1, Cuda>> kept_;
};

}  // namespace cuda

/// The whole graph is the one batch of a pass, as on the CPU; mostly zero inputs are multiplied as dense ones here.
template <class T>
class source::Dataset::State<T, Cuda, NodeDataset> {
 public:
  using batch_type = GraphBatch<T>;
  State(const Dataset&, const Setup<Cuda>&, const NodeDataset& data) : host_(data) {
    const auto whole = host_.batch();
    const GraphView<T>& from = *whole.graph;
    graph_.edges = copy_(from.edges);
    for (int n = 0; n < norm_count; ++n) {
      graph_.weight[n] = copy_(from.weight[n], from.edges.entries);
      graph_.t_weight[n] = copy_(from.t_weight[n], from.edges.entries);
    }
    graph_.labels = copy_(from.labels);
    graph_.sensitive = copy_(from.sensitive);
    graph_.train = copy_(from.train);
    graph_.truth = copy_(from.truth);
    batch_ = {copy_(whole.inputs), graph_.labels, whole.ids, &graph_};
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  void begin(std::uint64_t) { done_ = false; }
  index_t batches() const { return 1; }
  bool next(batch_type& batch) {
    if (done_) return false;
    batch = batch_;
    return done_ = true;
  }

 private:
  graph::WholeGraph<T> host_;  ///< its ids stay on the host
  cuda::Copies copy_;
  GraphView<T> graph_;
  batch_type batch_;
  bool done_ = false;
};

}  // namespace retort
