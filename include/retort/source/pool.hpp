#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <retort/core/rng.hpp>
#include <retort/core/state.hpp>
#include <retort/core/tensor.hpp>
#include <vector>

namespace retort::source {

/// The last `capacity` rows that were put in, of one or more tables of equal length. What inverting sources have made so far.
template <class T, class B>
class Ring {
 public:
  Ring(index_t capacity, std::initializer_list<index_t> widths) : capacity_(capacity) {
    for (const index_t w : widths) tables_.emplace_back(Shape{capacity, w});
  }
  index_t size() const { return std::min(static_cast<index_t>(total_), capacity_); }
  /// Rows ever put in.
  std::uint64_t total() const { return total_; }
  /// Puts row i of each view, in the order of the tables; the oldest rows go.
  template <class... Views>
  void add(const Views&... rows) {
    const index_t n = std::min({rows.extent(0)...});
    for (index_t i = 0; i < n; ++i, ++total_) {
      const auto at = static_cast<index_t>(total_ % static_cast<std::uint64_t>(capacity_));
      std::size_t k = 0;
      ((B::copy(tables_[k].view().row(at), rows.row(i), static_cast<std::size_t>(tables_[k].extent(1)) * sizeof(T)), ++k), ...);
    }
  }
  /// Row `at` of a table, 0 <= at < size().
  const T* row(std::size_t table, index_t at) const { return tables_[table].view().row(at); }
  /// A row drawn by lot.
  index_t draw(Rng& rng) const { return static_cast<index_t>(rng.below(static_cast<std::uint64_t>(size()))); }
  void visit_state(const StateVisitor& visit) {
    for (std::size_t k = 0; k < tables_.size(); ++k) visit("table" + std::to_string(k), tables_[k].view().flat());
    visit("total", total_);
  }

 private:
  index_t capacity_;
  std::vector<Tensor<T, 2, B>> tables_;
  std::uint64_t total_ = 0;
};

}  // namespace retort::source
