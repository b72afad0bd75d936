#pragma once

#include <retort/data/gather.hpp>
#include <retort/data/order.hpp>
#include <retort/method/roles.hpp>
#include <vector>

namespace retort::source {

/// One batch as a source hands it out; the views live until the next one.
template <class T, int Rank>
struct Batch {
  View<const T, Rank> inputs;
  View<const std::int32_t, 1> labels;
  View<const std::int64_t, 1> ids;
};

/// Real samples, their labels (none for an unlabelled set) and positions, in an order that is a pure function of (seed, pass), augmented as a pure function of (seed, pass, sample).
/// The last batch of a pass may be smaller, unless `drop_last`.
struct Dataset {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = false;
  bool drop_last = false;

  /// `Data` is a retort::Dataset or a data::Augmented one.
  template <class T, class B, class Data>
  class State {
   public:
    static constexpr int rank = data::rank_of<Data>;
    using batch_type = Batch<T, rank>;

    State(const Dataset& policy, const Setup<B>& setup, const Data& data)
        : data_(&data), size_(data::base(data).size()), batch_size_(std::min(setup.batch_size, size_)), seed_(setup.seed),
          drop_last_(policy.drop_last), order_(static_cast<std::size_t>(size_)) {
      Shape<rank> shape = data::base(data).inputs.shape();
      shape[0] = batch_size_;
      inputs_ = Tensor<T, rank, B>(shape);
      if (!data::base(data).labelled()) return;
      labels_ = Tensor<std::int32_t, 1, B>(Shape{batch_size_});
      host_labels_.resize(static_cast<std::size_t>(batch_size_));
    }
    /// Starts pass number `pass` over the set.
    void begin(std::uint64_t pass) {
      data::epoch_order(order_, seed_, pass);
      pass_ = pass;
      at_ = 0;
    }
    /// Batches in one pass.
    index_t batches() const { return drop_last_ ? size_ / batch_size_ : (size_ + batch_size_ - 1) / batch_size_; }
    /// The next batch; false at the end of the pass.
    bool next(batch_type& batch) {
      const index_t n = std::min(batch_size_, size_ - at_);
      if (n <= 0 || (drop_last_ && n < batch_size_)) return false;
      const std::span<const index_t> rows(order_.data() + at_, static_cast<std::size_t>(n));
      const auto inputs = inputs_.view().rows(0, n);
      data::gather_to<B>(*data_, rows, seed_, pass_, inputs, staging_);
      batch = {inputs, {}, {rows.data(), {n}}};
      if (data::base(*data_).labelled()) {
        for (std::size_t i = 0; i < rows.size(); ++i) host_labels_[i] = data::base(*data_).labels[static_cast<std::size_t>(rows[i])];
        B::copy(labels_.data(), host_labels_.data(), rows.size() * sizeof(std::int32_t));
        batch.labels = labels_.view().rows(0, n);
      }
      at_ += n;
      return true;
    }

   private:
    const Data* data_;
    index_t size_, batch_size_, at_ = 0;
    std::uint64_t seed_, pass_ = 0;
    bool drop_last_;
    std::vector<index_t> order_;
    Tensor<T, rank, B> inputs_;
    Tensor<T, rank> staging_;
    Tensor<std::int32_t, 1, B> labels_;
    std::vector<std::int32_t> host_labels_;
  };
  std::string describe() const { return drop_last ? "data set, last batch dropped" : "data set"; }
};

}  // namespace retort::source
