#pragma once
// Graphs through source::Dataset: a node data set gives its whole graph in each step, a set of graphs gives batches of them.

#include <retort/data/graphs.hpp>
#include <retort/data/nodes.hpp>
#include <retort/graph/batch.hpp>
#include <retort/predict/logits.hpp>
#include <retort/source/dataset.hpp>

namespace retort {

namespace graph {

/// The non-zero entries of a matrix.
template <class T>
struct SparseRows {
  Csr pattern;
  std::vector<T> value;
  void assign(View<const T, 2> x) {
    pattern.clear(x.extent(1));
    value.clear();
    for (index_t r = 0; r < x.extent(0); ++r) {
      for (index_t c = 0; c < x.extent(1); ++c)
        if (x(r, c) != T(0)) pattern.col.push_back(static_cast<std::int32_t>(c)), value.push_back(x(r, c));
      pattern.end_row();
    }
    pattern.finish();
  }
};

/// A node data set as batches and passes take it.
template <class T>
class WholeGraph {
 public:
  explicit WholeGraph(const NodeDataset& data) : inputs_(data.inputs.shape()), sensitive_(data.sensitive), truth_(data.labels) {
    const auto n = static_cast<std::size_t>(data.size());
    std::copy(data.inputs.begin(), data.inputs.end(), inputs_.begin());
    labels_.assign(n, ignored_label);
    train_.assign(n, 0);
    for (const index_t i : data.train) labels_[static_cast<std::size_t>(i)] = data.labels[static_cast<std::size_t>(i)], train_[static_cast<std::size_t>(i)] = 1;
    for (std::size_t i = 0; i < n; ++i) ids_.push_back(static_cast<std::int64_t>(i));
    const Range all[] = {{0, data.size()}};
    topology_.assign(data.adjacency, all);
    auto& view = topology_.view();
    view.labels = {labels_.data(), {data.size()}};
    view.train = {train_.data(), {data.size()}};
    view.truth = {truth_.data(), {data.size()}};
    if (!sensitive_.empty()) view.sensitive = {sensitive_.data(), {data.size()}};
    const auto zeros = std::count(data.inputs.begin(), data.inputs.end(), 0.f);
    if (static_cast<double>(zeros) > 0.9 * static_cast<double>(inputs_.size())) {  // a tenth of the work repays the indices
      sparse_.assign(inputs_.view());
      view.features = sparse_.pattern.view();
      view.feature_value = sparse_.value.data();
      view.input = inputs_.data();
    }
  }
  WholeGraph(const WholeGraph&) = delete;
  WholeGraph& operator=(const WholeGraph&) = delete;
  GraphBatch<T> batch() { return {inputs_.view(), {labels_.data(), {inputs_.extent(0)}}, {ids_.data(), {inputs_.extent(0)}}, &topology_.view()}; }

 private:
  Tensor<T, 2> inputs_;
  std::vector<std::int32_t> labels_, sensitive_, truth_;
  std::vector<std::uint8_t> train_;
  std::vector<std::int64_t> ids_;
  Topology<T> topology_;
  SparseRows<T> sparse_;
};

/// Batches of graphs laid side by side, in memory for the largest batch that may come.
template <class T>
class SideBySide {
 public:
  SideBySide(const GraphDataset& data, index_t batch_size) : data_(&data) {
    std::vector<index_t> nodes, entries;
    for (index_t g = 0; g < data.size(); ++g) {
      const auto [first, last] = data.rows(g);
      index_t e = 0;
      for (index_t v = first; v < last; ++v) e += static_cast<index_t>(data.store->adjacency.sources(v).size()) + 1;
      nodes.push_back(last - first);
      entries.push_back(e);
    }
    const auto largest = [&](std::vector<index_t>& v) {
      std::sort(v.begin(), v.end());
      return std::accumulate(v.end() - static_cast<std::ptrdiff_t>(std::min<std::size_t>(v.size(), static_cast<std::size_t>(batch_size))), v.end(), index_t{0});
    };
    const index_t most = largest(nodes);
    topology_.reserve(most, largest(entries));
    inputs_ = Tensor<T, 2>(Shape{most, data.store->inputs.extent(1)});
    for (auto* v : {&ptr_, &labels_}) v->reserve(static_cast<std::size_t>(batch_size) + 1);
    ids_.reserve(static_cast<std::size_t>(batch_size));
    pieces_.reserve(static_cast<std::size_t>(batch_size));
  }
  GraphBatch<T> batch(std::span<const index_t> which) {
    ptr_.assign(1, 0);
    labels_.clear(), ids_.clear(), pieces_.clear();
    index_t at = 0;
    for (const index_t g : which) {
      const auto [first, last] = data_->rows(g);
      const float* from = data_->store->inputs.view().row(first);
      std::copy(from, data_->store->inputs.view().row(last), inputs_.view().row(at));
      at += last - first;
      pieces_.push_back({first, last});
      ptr_.push_back(static_cast<std::int32_t>(at));
      labels_.push_back(data_->labels[static_cast<std::size_t>(g)]);
      ids_.push_back(g);
    }
    topology_.assign(data_->store->adjacency, pieces_);
    const auto n = static_cast<index_t>(which.size());
    topology_.view().graph_ptr = {ptr_.data(), {n + 1}};
    return {inputs_.view().rows(0, at), {labels_.data(), {n}}, {ids_.data(), {n}}, &topology_.view()};
  }

 private:
  const GraphDataset* data_;
  Tensor<T, 2> inputs_;
  std::vector<std::int32_t> ptr_, labels_;
  std::vector<std::int64_t> ids_;
  std::vector<Range> pieces_;
  Topology<T> topology_;
};

}  // namespace graph

namespace source {

/// The whole graph is the one batch of a pass; labels outside `train` are `ignored_label`.
template <class T, class B>
class Dataset::State<T, B, NodeDataset> {
  static_assert(B::host_accessible, "retort: graphs are for the CPU backend");

 public:
  using batch_type = GraphBatch<T>;
  State(const Dataset&, const Setup<B>&, const NodeDataset& data) : graph_(data) {}
  void begin(std::uint64_t) { done_ = false; }
  index_t batches() const { return 1; }
  bool next(batch_type& batch) {
    if (done_) return false;
    batch = graph_.batch();
    return done_ = true;
  }

 private:
  graph::WholeGraph<T> graph_;
  bool done_ = false;
};

template <class T, class B>
class Dataset::State<T, B, GraphDataset> {
  static_assert(B::host_accessible, "retort: graphs are for the CPU backend");

 public:
  using batch_type = GraphBatch<T>;
  State(const Dataset& policy, const Setup<B>& setup, const GraphDataset& data)
      : size_(data.size()), batch_size_(std::min(setup.batch_size, size_)), seed_(setup.seed), drop_last_(policy.drop_last), order_(static_cast<std::size_t>(size_)),
        graphs_(data, batch_size_) {}
  void begin(std::uint64_t pass) {
    data::epoch_order(order_, seed_, pass);
    at_ = 0;
  }
  index_t batches() const { return drop_last_ ? size_ / batch_size_ : (size_ + batch_size_ - 1) / batch_size_; }
  bool next(batch_type& batch) {
    const index_t n = std::min(batch_size_, size_ - at_);
    if (n <= 0 || (drop_last_ && n < batch_size_)) return false;
    batch = graphs_.batch({order_.data() + at_, static_cast<std::size_t>(n)});
    at_ += n;
    return true;
  }

 private:
  index_t size_, batch_size_, at_ = 0;
  std::uint64_t seed_;
  bool drop_last_;
  std::vector<index_t> order_;
  graph::SideBySide<T> graphs_;
};

}  // namespace source

namespace detail {
template <class T, class B, class F>
Var<T, 2> answer_graph(Tape<T, B>& tape, const GraphBatch<T>& batch, F&& answer) {
  tape.reset();
  auto pass = Pass<T, B>::frozen(tape);
  pass.graph = batch.graph;
  return answer(pass, Question<Var<T, 2>>{tape.constant(batch.inputs), batch.ids});
}
}  // namespace detail

/// Answers for all nodes of a graph (N x C), for some of them, or for graphs (G x C): see predict/logits.hpp.
template <class T, class B, data::GraphData Data, class F>
Tensor<T, 2> predict_logits(B& backend, const Data& data, F&& answer, index_t chunk = 256) {
  Tape<T, B> tape(backend);
  NoGrad off(tape);
  Tensor<T, 2> out;
  const auto copy = [](View<const T, 2> from, index_t row, View<T, 2> to, index_t at) { std::copy(from.row(row), from.row(row) + to.extent(1), to.row(at)); };
  if constexpr (std::is_same_v<Data, GraphDataset>) {
    graph::SideBySide<T> graphs(data, chunk);
    std::vector<index_t> which;
    for (index_t first = 0; first < data.size(); first += chunk) {
      which.clear();
      for (index_t g = first; g < std::min(first + chunk, data.size()); ++g) which.push_back(g);
      const Var<T, 2> logits = detail::answer_graph<T>(tape, graphs.batch(which), answer);
      if (out.empty()) out = Tensor<T, 2>(Shape{data.size(), logits.extent(1)});
      for (index_t i = 0; i < logits.extent(0); ++i) copy(logits.value, i, out, first + i);
    }
  } else {
    const NodeDataset& whole = [&]() -> const NodeDataset& {
      if constexpr (std::is_same_v<Data, NodeSubset>)
        return *data.whole;
      else
        return data;
    }();
    graph::WholeGraph<T> graph(whole);
    const Var<T, 2> logits = detail::answer_graph<T>(tape, graph.batch(), answer);
    out = Tensor<T, 2>(Shape{data.size(), logits.extent(1)});
    for (index_t i = 0; i < data.size(); ++i) {
      index_t row = i;
      if constexpr (std::is_same_v<Data, NodeSubset>) row = data.which[static_cast<std::size_t>(i)];
      copy(logits.value, row, out, i);
    }
  }
  return out;
}

}  // namespace retort
