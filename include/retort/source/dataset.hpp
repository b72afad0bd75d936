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

namespace detail {
/// How a batch comes to a backend: the host writes it where it is read.
template <class B>
struct DirectUpload {
  using host_memory = B;
  explicit DirectUpload(B&) {}
};
/// Or it is sent ahead, by what `backend.upload()` gives.
template <class B>
struct upload_of {
  using type = DirectUpload<B>;
};
template <class B>
  requires requires(B& b) { b.upload(); }
struct upload_of<B> {
  using type = decltype(std::declval<B&>().upload());
};
}  // namespace detail

/// Real samples, their labels (none for an unlabelled set) and positions, in an order that is a pure function of (seed, pass), augmented as a pure function of (seed, pass, sample).
/// The last batch of a pass may be smaller, unless `drop_last`.
struct Dataset {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = false;
  bool drop_last = false;

  /// `Data` is a retort::Dataset or a data::Augmented one.
  template <class T, class B, class Data>
  class State {
    using Upload = typename detail::upload_of<B>::type;
    static constexpr bool direct = std::is_same_v<Upload, detail::DirectUpload<B>>;

   public:
    static constexpr int rank = data::rank_of<Data>;
    using batch_type = Batch<T, rank>;

    State(const Dataset& policy, const Setup<B>& setup, const Data& data)
        : data_(&data), size_(data::base(data).size()), batch_size_(std::min(setup.batch_size, size_)), seed_(setup.seed),
          drop_last_(policy.drop_last), order_(static_cast<std::size_t>(size_)) {
      Shape<rank> shape = data::base(data).inputs.shape();
      shape[0] = batch_size_;
      slots_.reserve(slot_count);
      for (int k = 0; k < slot_count; ++k) slots_.emplace_back(setup.backend, shape, data::base(data).labelled());
    }
    /// Starts pass number `pass` over the set.
    void begin(std::uint64_t pass) {
      data::epoch_order(order_, seed_, pass);
      pass_ = pass;
      at_ = 0;
      ahead_ = false;
    }
    /// Batches in one pass.
    index_t batches() const { return drop_last_ ? size_ / batch_size_ : (size_ + batch_size_ - 1) / batch_size_; }
    /// The next batch; false at the end of the pass.
    bool next(batch_type& batch) {
      const auto rows = upcoming();
      if (rows.empty()) return false;
      if constexpr (!direct) slots_[now_].upload.release();
      now_ = (now_ + 1) % slot_count;
      Slot& slot = slots_[now_];
      if (!ahead_) load(slot, rows);
      ahead_ = false;
      if constexpr (!direct) slot.upload.await();
      const auto n = static_cast<index_t>(rows.size());
      batch = {slot.inputs.view().rows(0, n), {}, {rows.data(), {n}}};
      if (!slot.labels.empty()) batch.labels = slot.labels.view().rows(0, n);
      at_ += n;
      return true;
    }
    /// Gathers the batch after the present one and sends it on its way, where a backend has room for two. Called while the
    /// device is at work on the present one.
    void prefetch()
      requires(!direct)
    {
      const auto rows = upcoming();
      if (ahead_ || rows.empty()) return;
      load(slots_[(now_ + 1) % slot_count], rows);
      ahead_ = true;
    }

   private:
    static constexpr int slot_count = direct ? 1 : 2;
    /// Room for a batch; where the host cannot write there, also what it writes instead.
    struct Slot {
      Tensor<T, rank, B> inputs;
      Tensor<std::int32_t, 1, B> labels;
      Tensor<T, rank, typename Upload::host_memory> host_inputs;
      Tensor<std::int32_t, 1, typename Upload::host_memory> host_labels;
      Upload upload;
      /// `upload` last: its copies come after what was launched, the clearing of these buffers, before it was made.
      Slot(B& backend, Shape<rank> shape, bool labelled)
          : inputs(shape), labels(labelled ? Tensor<std::int32_t, 1, B>(Shape{shape[0]}) : Tensor<std::int32_t, 1, B>()), upload(make(backend)) {}
    };
    std::span<const index_t> upcoming() const {
      const index_t n = std::min(batch_size_, size_ - at_);
      if (n <= 0 || (drop_last_ && n < batch_size_)) return {};
      return {order_.data() + at_, static_cast<std::size_t>(n)};
    }
    static Upload make(B& backend) {
      if constexpr (direct)
        return Upload(backend);
      else
        return backend.upload();
    }
    void load(Slot& slot, std::span<const index_t> rows) {
      const auto n = static_cast<index_t>(rows.size());
      const auto write = [&](auto& inputs, auto& labels) {
        data::gather(*data_, rows, seed_, pass_, inputs.view().rows(0, n));
        if (!slot.labels.empty())
          for (index_t i = 0; i < n; ++i) labels.data()[i] = data::base(*data_).labels[static_cast<std::size_t>(rows[static_cast<std::size_t>(i)])];
      };
      if constexpr (direct) {
        write(slot.inputs, slot.labels);
      } else {
        slot.upload.reclaim();
        const auto send = [&](auto& to, auto& from) {
          if (!to.empty()) slot.upload.send(to.data(), from.data(), static_cast<std::size_t>(n * to.shape().row_size()) * sizeof(*to.data()));
        };
        if (slot.host_inputs.empty()) slot.host_inputs = Tensor<T, rank, typename Upload::host_memory>(slot.inputs.shape());
        if (slot.host_labels.empty()) slot.host_labels = Tensor<std::int32_t, 1, typename Upload::host_memory>(slot.labels.shape());
        write(slot.host_inputs, slot.host_labels);
        send(slot.inputs, slot.host_inputs);
        send(slot.labels, slot.host_labels);
      }
    }

    const Data* data_;
    index_t size_, batch_size_, at_ = 0;
    std::uint64_t seed_, pass_ = 0;
    bool drop_last_, ahead_ = false;  ///< ahead: the next batch is loaded
    std::vector<index_t> order_;
    std::vector<Slot> slots_;
    int now_ = 0;
  };
  std::string describe() const { return drop_last ? "data set, last batch dropped" : "data set"; }
};

}  // namespace retort::source
