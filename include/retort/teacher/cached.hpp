#pragma once

#include <retort/predict/logits.hpp>
#include <retort/teacher/frozen.hpp>
#include <retort/teacher/table.hpp>

namespace retort::teacher {

/// Answers from a table of logits that an inner teacher filled once, in memory: 4 bytes x samples x classes. For frozen
/// teachers and data that is not augmented. It has no input gradients and no taps, and the type says so.
template <class Inner>
class Cached {
 public:
  using role = retort::role::teacher;
  static constexpr bool differentiable = false;
  template <class B2>
  using rebind = Cached<typename Inner::template rebind<B2>>;

  Cached(Inner inner) : inner_(std::move(inner)) {}
  template <class N>
    requires std::constructible_from<Inner, N&>
  Cached(N& network) : inner_(network) {}

  /// Fills the table. Throws value_error when the data is augmented: the answers would belong to other inputs.
  template <class T, class B, class Data>
  void prepare(const Setup<B>& setup, const Data& data) {
    detail::require_fixed_inputs<Data>("teacher::Cached");
    const Tensor<T, 2> logits = predict_logits<T>(setup.backend, data, [&](Pass<T, B>& pass, const auto& batch) {
      return result_of(inner_.answer(pass, batch));
    });
    Tensor<double, 2> table(logits.shape());
    std::copy(logits.begin(), logits.end(), table.begin());
    table_ = std::move(table);
  }
  template <class T, class B, class E>
  Var<T, 2> answer(Pass<T, B>& pass, const E& batch) const {
    return detail::table_rows("teacher::Cached", pass, table_.view(), batch.ids);
  }
  std::string describe() const { return "cached " + inner_.describe(); }

 private:
  Inner inner_;
  Tensor<double, 2> table_;
};

}  // namespace retort::teacher
