#pragma once

#include <cmath>
#include <limits>
#include <retort/core/finite.hpp>
#include <retort/method/roles.hpp>
#include <retort/nn/sequential.hpp>
#include <retort/teacher/table.hpp>

namespace retort::teacher {

/// A teacher that is not here: its soft labels (N x classes) and embeddings (N x width) of the training set, in the order of
/// the set, as another program wrote them (io::load_npy). Answers by the samples' ids with logits log p and the embedding as
/// tap `Tag`. No input gradients, no augmented data, no synthesised batches. Throws shape_error when the numbers of rows differ,
/// value_error for a soft label that is no distribution or an entry that is not finite.
template <class Tag>
class Given {
 public:
  using role = retort::role::teacher;
  static constexpr bool differentiable = false;
  template <class>
  using rebind = Given;

  Given(Tensor<float, 2> soft_labels, Tensor<float, 2> embeddings) : logits_(std::move(soft_labels)), embeddings_(std::move(embeddings)) {
    require<shape_error>(logits_.extent(0) == embeddings_.extent(0) && !logits_.empty() && !embeddings_.empty(), "teacher::Given: soft labels of shape ",
                         to_string(logits_.shape()), ", embeddings of shape ", to_string(embeddings_.shape()));
    for (index_t i = 0; i < logits_.extent(0); ++i) {
      double sum = 0;
      for (index_t c = 0; c < logits_.extent(1); ++c) {
        float& p = logits_(i, c);
        require<value_error>(is_finite(p) && p >= 0, "teacher::Given: soft label ", i, " has the entry ", p);
        sum += static_cast<double>(p);
        p = std::log(std::max(p, std::numeric_limits<float>::min()));
      }
      require<value_error>(std::abs(sum - 1) < 1e-3, "teacher::Given: soft label ", i, " is no distribution: its entries add up to ", sum);
    }
    const index_t bad = first_not_finite(embeddings_.view());
    require<value_error>(bad < 0, "teacher::Given: embedding ", bad / embeddings_.extent(1), " is not finite");
  }

  /// Throws shape_error when the set has another number of samples than there are rows, value_error when it is augmented.
  template <class T, class B, class Data>
  void prepare(const Setup<B>& setup, const Data&) {
    detail::require_answers<Data>("teacher::Given", logits_.extent(0), setup.samples);
  }
  template <class T, class B, class E>
  auto answer(Pass<T, B>& pass, const E& batch) const {
    const auto rows = [&](auto table) { return detail::table_rows("teacher::Given", pass, table, batch.ids); };
    return Output<Var<T, 2>, Tapped<Tag, Var<T, 2>>>{rows(logits_.view()), {{rows(embeddings_.view())}}};
  }
  std::string describe() const { return retort::detail::concat("given soft labels and embeddings of ", logits_.extent(0), " samples"); }

 private:
  Tensor<float, 2> logits_, embeddings_;
};

}  // namespace retort::teacher
