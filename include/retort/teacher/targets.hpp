#pragma once

#include <retort/core/finite.hpp>
#include <retort/method/roles.hpp>
#include <retort/teacher/table.hpp>

namespace retort::teacher {

/// A teacher that is a table, one row per sample in the data set's order: marks of a multi-label task, embeddings or logits
/// that another program wrote. No input gradients, no augmented data. Throws value_error for a value that is not finite.
class Targets {
 public:
  using role = retort::role::teacher;
  static constexpr bool differentiable = false;
  static constexpr bool answers_repeat = true;
  template <class>
  using rebind = Targets;

  Targets(Tensor<float, 2> rows) : rows_(std::move(rows)) {
    const index_t bad = first_not_finite(rows_.view());
    require<value_error>(bad < 0, "teacher::Targets: row ", bad / std::max<index_t>(rows_.extent(1), 1), " is not finite");
  }
  /// Throws shape_error for a data set of another size, value_error for an augmented one.
  template <class T, class B, class Data>
  void prepare(const Setup<B>& setup, const Data&) {
    detail::require_answers<Data>("teacher::Targets", rows_.extent(0), setup.samples);
  }
  template <class T, class B, class E>
  Var<T, 2> answer(Pass<T, B>& pass, const E& batch) const {
    return detail::table_rows("teacher::Targets", pass, rows_.view(), batch.ids);
  }
  std::string describe() const { return retort::detail::concat("targets ", to_string(rows_.shape())); }

 private:
  Tensor<float, 2> rows_;
};

}  // namespace retort::teacher
