#pragma once

#include <optional>
#include <retort/core/state.hpp>
#include <retort/predict/logits.hpp>
#include <retort/source/graph.hpp>
#include <retort/train/metrics.hpp>
#include <retort/train/report.hpp>

namespace retort::callbacks {

/// Gives the network, at the end of training, the weights that it had when a recorded metric was best; of equal epochs the last
/// (so RELIANT's code has it). Put it behind the callback that records the metric; epochs without it do not count. Its memory
/// is part of checkpoints.
template <class Net>
class KeepBest {
 public:
  using scalar = typename Net::scalar;
  KeepBest(Net& network, std::string metric, bool larger_is_better = true) : tensors_(network.tensors()), metric_(std::move(metric)), sign_(larger_is_better ? 1 : -1) {
    for (const auto& [name, view] : tensors_) saved_.emplace_back(static_cast<std::size_t>(view.size()));
  }
  template <class S>
  void on_train_begin(S& session) {
    if (!session.resumed()) best_ = 0, epoch_ = -1;
  }
  template <class S>
  void on_epoch_end(S& session) {
    const double score = sign_ * session.record().metric(metric_);
    if (!(is_finite(score) && (epoch_ < 0 || score >= best_))) return;
    best_ = score;
    epoch_ = session.record().epoch;
    for (std::size_t i = 0; i < saved_.size(); ++i) Net::context::copy(saved_[i].data(), tensors_[i].second.data, saved_[i].size() * sizeof(scalar));
  }
  /// Throws value_error when no epoch recorded the metric.
  template <class S>
  void on_train_end(S& session) {
    if (session.options().epochs == 0) return;
    require<value_error>(epoch_ >= 0, "callbacks::KeepBest: no callback before it recorded a metric '", metric_, "'");
    for (std::size_t i = 0; i < saved_.size(); ++i) Net::context::copy(tensors_[i].second.data, saved_[i].data(), saved_[i].size() * sizeof(scalar));
  }
  /// The best value and its epoch, from 0; -1 before there is one.
  double best() const { return sign_ * best_; }
  int epoch() const { return static_cast<int>(epoch_); }
  void visit_state(const StateVisitor& visit) {
    visit("best", best_);
    visit("epoch", epoch_);
    for (std::size_t i = 0; i < saved_.size(); ++i) visit("saved." + std::to_string(i), View<scalar, 1>{saved_[i].data(), {static_cast<index_t>(saved_[i].size())}});
  }

 private:
  std::vector<std::pair<std::string, View<scalar, 1>>> tensors_;
  std::vector<std::vector<scalar>> saved_;
  std::string metric_;
  double sign_, best_ = 0, epoch_ = -1;
};

/// Every `every` epochs (and after the last) the student answers for the whole graph, in evaluation mode, and `f(logits, record)`
/// looks at the N x C logits and adds metrics to the record: see node_accuracy. `dropout`: with the training's dropout, as
/// RELIANT's code selects its epochs with GraphAKD. Memory is reused from epoch to epoch.
template <class F>
class OnNodes {
 public:
  OnNodes(const NodeDataset& data, F f, int every = 1, bool dropout = false) : data_(&data), f_(std::move(f)), every_(every), dropout_(dropout) {
    require<value_error>(every >= 1, "callbacks::OnNodes: expected every >= 1, got ", every);
  }
  template <class S>
  void on_epoch_end(S& session) {
    const int epoch = session.progress().epoch + 1;
    if (epoch % every_ && epoch != session.options().epochs) return;
    using T = typename S::scalar;
    static_assert(std::is_same_v<T, float>, "retort: callbacks::OnNodes is for the float backend");
    if (!graph_) graph_ = std::make_unique<graph::WholeGraph<float>>(*data_);
    auto& method = session.method();
    Tape<T, typename S::context> tape(session.backend());
    NoGrad off(tape);
    const auto logits = retort::detail::answer_graph<T>(tape, graph_->batch(), [&](auto& pass, const auto& batch) {
      pass.train = dropout_;
      pass.rng = Rng(session.options().seed).fork(0x6f6e6e6f6465).fork(static_cast<std::uint64_t>(epoch));
      return result_of(method.predictor_policy().answer(pass, method.student_policy().result(), batch));
    });
    f_(logits.value, session.record());
  }

 private:
  const NodeDataset* data_;
  F f_;
  int every_;
  bool dropout_;
  std::unique_ptr<graph::WholeGraph<float>> graph_;
};

}  // namespace retort::callbacks

namespace retort {

/// Rows of a matrix.
template <class T>
Tensor<T, 2> rows_of(View<const T, 2> x, std::span<const index_t> which) {
  Tensor<T, 2> out(Shape{static_cast<index_t>(which.size()), x.extent(1)});
  for (std::size_t i = 0; i < which.size(); ++i) std::copy(x.row(which[i]), x.row(which[i]) + x.extent(1), out.view().row(static_cast<index_t>(i)));
  return out;
}

/// For callbacks::OnNodes: records the accuracy on some nodes under a name.
inline auto node_accuracy(const NodeSubset& subset, std::string name) {
  return [&subset, name = std::move(name)](View<const float, 2> logits, EpochRecord& record) {
    record.metrics.emplace_back(name, metrics::accuracy(rows_of(logits, subset.which), subset.label_view()));
  };
}

}  // namespace retort
