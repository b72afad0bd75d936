#pragma once

#include <retort/source/dataset.hpp>

namespace retort::source {

/// Two views of each sample in one batch, for losses that compare them (MLLD): rows [0, N) are the weakly augmented samples
/// (as `fit`'s data has them), rows [N, 2N) the same samples through `Strong`, a data::Pipeline or another augmentation.
/// Labels and ids are given twice. `FitOptions::batch_size` counts samples. float images only.
template <class Strong>
struct TwoViews {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = false;
  static constexpr int views = 2;
  Strong strong{};

  template <class T, class B, class Data>
  class State {
    static_assert(B::host_accessible, "retort: source::TwoViews augments on the host; use the CPU backend");
    static_assert(std::is_same_v<T, float> && data::rank_of<Data> == 4, "retort: source::TwoViews augments float images, a Dataset<4>; see retort/source/two_views.hpp");

   public:
    using batch_type = Batch<T, 4>;
    State(const TwoViews& policy, const Setup<B>& setup, const Data& data)
        : data_(data::augmented(data::base(data), policy.strong)), seed_(setup.seed), weak_(Dataset{}, setup, data) {
      Shape<4> shape = data::base(data).inputs.shape();
      shape[0] = 2 * std::min(setup.batch_size, shape[0]);
      inputs_ = Tensor<T, 4, B>(shape);
      labels_ = Tensor<std::int32_t, 1>(Shape{shape[0]});
      ids_ = Tensor<std::int64_t, 1>(Shape{shape[0]});
    }
    index_t batches() const { return weak_.batches(); }
    void begin(std::uint64_t pass) {
      pass_ = pass;
      weak_.begin(pass);
    }
    bool next(batch_type& batch) {
      if (!weak_.next(batch)) return false;
      const index_t n = batch.labels.size();
      const auto all = inputs_.view().rows(0, 2 * n);
      std::copy(batch.inputs.begin(), batch.inputs.end(), all.begin());
      constexpr std::uint64_t purpose = 0x7374726f6e67;  // draws of its own
      data::gather(data_, std::span<const index_t>(batch.ids.data, static_cast<std::size_t>(n)), Rng(seed_).fork(purpose).at(0), pass_, all.rows(n, 2 * n));
      for (index_t i = 0; i < 2 * n; ++i) labels_(i) = batch.labels(i % n), ids_(i) = batch.ids(i % n);
      batch = {all, labels_.view().rows(0, 2 * n), ids_.view().rows(0, 2 * n)};
      return true;
    }

   private:
    data::Augmented<Strong> data_;
    std::uint64_t seed_, pass_ = 0;
    typename Dataset::template State<T, B, Data> weak_;
    Tensor<T, 4, B> inputs_;
    Tensor<std::int32_t, 1> labels_;
    Tensor<std::int64_t, 1> ids_;
  };
  std::string describe() const { return "data set in two views"; }
};

}  // namespace retort::source
