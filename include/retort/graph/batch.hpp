#pragma once
// A graph as layers and losses see it: compressed rows with their transpose, the usual normalisations, index sets.

#include <array>
#include <cmath>
#include <retort/core/tensor.hpp>
#include <retort/graph/adjacency.hpp>

namespace retort {

/// A sparse pattern by rows and by columns. Row r's entries are ptr[r] .. ptr[r + 1]; entry e stands in column col[e]. The
/// transposed one lists, for each column, rows (t_col) and the entry itself (t_entry). The arrays lie in a backend's memory, so
/// the host asks `entries` how many there are, never ptr[rows].
struct CsrView {
  index_t rows = 0, columns = 0, entries = 0;
  const std::int32_t *ptr = nullptr, *col = nullptr;
  const std::int32_t *t_ptr = nullptr, *t_col = nullptr, *t_entry = nullptr;
};

/// Owns a pattern. Reused: `clear`, fill `ptr` and `col`, `finish`.
struct Csr {
  index_t columns = 0;
  std::vector<std::int32_t> ptr{0}, col, t_ptr, t_col, t_entry;

  void clear(index_t columns_) {
    columns = columns_;
    ptr.resize(1);
    col.clear();
  }
  void end_row() { ptr.push_back(static_cast<std::int32_t>(col.size())); }
  /// Makes the transpose, rows ascending in each column.
  void finish() {
    t_ptr.assign(static_cast<std::size_t>(columns) + 1, 0);
    t_col.resize(col.size());
    t_entry.resize(col.size());
    for (const std::int32_t c : col) ++t_ptr[static_cast<std::size_t>(c) + 1];
    for (std::size_t c = 0; c + 1 < t_ptr.size(); ++c) t_ptr[c + 1] += t_ptr[c];
    for (std::size_t r = 0; r + 1 < ptr.size(); ++r)
      for (std::int32_t e = ptr[r]; e < ptr[r + 1]; ++e) {
        const auto at = static_cast<std::size_t>(t_ptr[static_cast<std::size_t>(col[static_cast<std::size_t>(e)])]++);
        t_col[at] = static_cast<std::int32_t>(r);
        t_entry[at] = e;
      }
    for (std::size_t c = t_ptr.size() - 1; c > 0; --c) t_ptr[c] = t_ptr[c - 1];
    t_ptr[0] = 0;
  }
  CsrView view() const {
    return {static_cast<index_t>(ptr.size()) - 1, columns, static_cast<index_t>(col.size()), ptr.data(), col.data(), t_ptr.data(), t_col.data(), t_entry.data()};
  }
};

/// How a node weighs what it hears. With d the number of nodes heard, A as the graph has it (its own loops included):
enum class Norm {
  symmetric,  ///< (D+I)^-1/2 (A+I) (D+I)^-1/2: one loop per node, whether the graph holds it or not (GCN, SGC, APPNP)
  mean,       ///< D^-1 A, d at least 1 (GraphSAGE)
  sum,        ///< A (GIN)
  with_self   ///< (D+I)^-1 (A+I), the loop counted twice where the graph holds it (GraphSAGE's "gcn")
};
inline constexpr int norm_count = 4;

/// What a pass knows of the graph. Views; the owner (a source's state) outlives the pass.
template <class T>
struct GraphView {
  CsrView edges;                               ///< N x N, row v: whom v hears, itself included exactly once
  const T* weight[norm_count]{};               ///< a number per entry, by Norm
  const T* t_weight[norm_count]{};             ///< the same in the transpose's order
  View<const std::int32_t, 1> labels{};        ///< N; known to training, elsewhere `ignored_label`
  View<const std::int32_t, 1> sensitive{};     ///< N, the sensitive attribute, 0 or 1; below 0: unknown
  View<const std::uint8_t, 1> train{};         ///< N; whether a node is one to train on
  View<const std::int32_t, 1> truth{};         ///< N; all labels of the data set: for fair::LeakedOpportunity alone
  View<const std::int32_t, 1> graph_ptr{};     ///< G + 1; the nodes of each graph of a batch of graphs
  CsrView features{};                          ///< the non-zero inputs, where they are few: N x F
  const T* feature_value = nullptr;            ///< in the order of `features`
  const T* input = nullptr;                    ///< the dense inputs that `features` describes

  index_t nodes() const { return edges.rows; }
  const T* weights(Norm norm) const { return weight[static_cast<int>(norm)]; }
  const T* transposed_weights(Norm norm) const { return t_weight[static_cast<int>(norm)]; }
};

/// A batch of nodes of one graph, or of graphs laid side by side. `labels` is N (`ignored_label` where none is known) or G.
template <class T>
struct GraphBatch {
  View<const T, 2> inputs;
  View<const std::int32_t, 1> labels;
  View<const std::int64_t, 1> ids;  ///< positions in the data set: of nodes, or of graphs
  const GraphView<T>* graph = nullptr;
};

namespace graph {

/// A half-open range of nodes.
struct Range {
  index_t first = 0, last = 0;
};

/// Owns the pattern and its weights for one graph, or for several ranges of an adjacency laid side by side. Memory is reused.
template <class T>
class Topology {
 public:
  /// The ranges must be closed: no edge leaves its range.
  void assign(const Adjacency& a, std::span<const Range> pieces) {
    index_t nodes = 0;
    for (const Range& p : pieces) nodes += p.last - p.first;
    pattern_.clear(nodes);
    index_t offset = 0;
    for (const Range& p : pieces) {
      for (index_t v = p.first; v < p.last; ++v) {
        const auto own = static_cast<std::int32_t>(v - p.first + offset);
        bool placed = a.loops();
        for (const std::int32_t u : a.sources(v)) {
          const auto moved = static_cast<std::int32_t>(u - p.first + offset);
          if (!placed && moved > own) pattern_.col.push_back(own), placed = true;
          pattern_.col.push_back(moved);
        }
        if (!placed) pattern_.col.push_back(own);
        pattern_.end_row();
      }
      offset += p.last - p.first;
    }
    pattern_.finish();
    weigh(a.loops());
    view_.edges = pattern_.view();
    for (std::size_t n = 0; n < norm_count; ++n) view_.weight[n] = weight_[n].data(), view_.t_weight[n] = t_weight_[n].data();
  }
  /// For batches of at most so many nodes and entries: later calls of `assign` allocate nothing.
  void reserve(index_t nodes, index_t entries) {
    const auto n = static_cast<std::size_t>(nodes) + 1, e = static_cast<std::size_t>(entries);
    for (auto* v : {&pattern_.ptr, &pattern_.t_ptr}) v->reserve(n);
    for (auto* v : {&pattern_.col, &pattern_.t_col, &pattern_.t_entry}) v->reserve(e);
    for (std::size_t k = 0; k < norm_count; ++k) weight_[k].reserve(e), t_weight_[k].reserve(e);
  }
  /// The view, for its owner to complete.
  GraphView<T>& view() { return view_; }

 private:
  void weigh(bool loops) {
    const CsrView p = pattern_.view();
    for (auto& w : weight_) w.resize(static_cast<std::size_t>(p.entries));
    for (auto& w : t_weight_) w.resize(static_cast<std::size_t>(p.entries));
    const T own = loops ? T(1) : T(0);
    for (index_t v = 0; v < p.rows; ++v) {
      const auto heard = static_cast<T>(p.ptr[v + 1] - p.ptr[v]), degree = heard - T(1) + own;
      for (std::int32_t e = p.ptr[v]; e < p.ptr[v + 1]; ++e) {
        const auto at = static_cast<std::size_t>(e);
        const bool loop = p.col[e] == v;
        const T a = loop ? own : T(1);
        weight_[0][at] = T(1) / std::sqrt(heard * static_cast<T>(p.t_ptr[p.col[e] + 1] - p.t_ptr[p.col[e]]));
        weight_[1][at] = a / std::max(degree, T(1));
        weight_[2][at] = a;
        weight_[3][at] = (a + (loop ? T(1) : T(0))) / (degree + T(1));
      }
    }
    for (std::size_t n = 0; n < norm_count; ++n)
      for (std::size_t k = 0; k < t_weight_[n].size(); ++k) t_weight_[n][k] = weight_[n][static_cast<std::size_t>(p.t_entry[k])];
  }
  Csr pattern_;
  std::array<std::vector<T>, norm_count> weight_, t_weight_;
  GraphView<T> view_;
};

}  // namespace graph
}  // namespace retort
