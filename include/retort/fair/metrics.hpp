#pragma once
// Fairness of any classifier's answers: N x C logits, N labels, N values of a binary sensitive attribute.

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <retort/train/metrics.hpp>

namespace retort::fair {

/// What a classifier does in the two groups s = 0 and s = 1. A group without members gives NaN.
struct GroupReport {
  std::array<double, 2> accuracy{}, positive_rate{}, true_positive_rate{}, base_rate{};  ///< P(right|s), P(yhat=1|s), P(yhat=1|s,y=1), P(y=1|s)

  /// Statistical parity: |P(yhat=1|s=0) - P(yhat=1|s=1)|.
  double delta_sp() const { return std::abs(positive_rate[0] - positive_rate[1]); }
  /// Equal opportunity: |P(yhat=1|s=0,y=1) - P(yhat=1|s=1,y=1)|.
  double delta_eo() const { return std::abs(true_positive_rate[0] - true_positive_rate[1]); }
  /// P(y=1|s=0) - P(y=1|s=1): a perfect classifier's parity gap, the floor against which delta_sp is read.
  double base_rate_gap() const { return base_rate[0] - base_rate[1]; }
};

/// Class 1 counts as positive; the answer is the largest logit. Rows whose attribute is below 0 count for nothing. Throws
/// shape_error when the numbers of rows differ, value_error for labels or logits out of range or an attribute above 1.
template <metrics::Logits L>
GroupReport group_report(const L& logits, metrics::Labels labels, View<const std::int32_t, 1> sensitive) {
  const auto z = metrics::detail::checked(logits, labels, "fair::group_report");
  require<shape_error>(sensitive.size() == labels.size(), "fair::group_report: ", labels.size(), " labels, ", sensitive.size(), " sensitive values");
  double n[2] = {}, right[2] = {}, yes[2] = {}, positives[2] = {}, found[2] = {};
  for (index_t i = 0; i < labels.size(); ++i) {
    const std::int32_t s = sensitive(i);
    require<value_error>(s <= 1, "fair::group_report: row ", i, " has the sensitive value ", s, ", expected 0 or 1");
    if (s < 0) continue;
    const auto guess = metrics::detail::arg_max(z.row(i), z.extent(1));
    n[s] += 1;
    right[s] += guess == labels(i);
    yes[s] += guess == 1;
    positives[s] += labels(i) == 1;
    found[s] += labels(i) == 1 && guess == 1;
  }
  const auto ratio = [](double a, double b) { return b > 0 ? a / b : std::numeric_limits<double>::quiet_NaN(); };
  GroupReport out;
  for (std::size_t s = 0; s < 2; ++s) out.accuracy[s] = ratio(right[s], n[s]), out.positive_rate[s] = ratio(yes[s], n[s]), out.true_positive_rate[s] = ratio(found[s], positives[s]), out.base_rate[s] = ratio(positives[s], n[s]);
  return out;
}

/// Mean over the classes of the share of their rows that is named right; classes without rows are left out.
template <metrics::Logits L>
double balanced_accuracy(const L& logits, metrics::Labels labels) {
  double sum = 0, classes = 0;
  for (const auto& c : metrics::per_class_accuracy(logits, labels))
    if (c.total > 0) sum += c.accuracy(), classes += 1;
  return sum / classes;
}

/// Area under the ROC curve of class 1 against the rest: the probability that a positive row has the larger score (logit 1 minus
/// the largest other), ties counting half. NaN where one side is empty.
template <metrics::Logits L>
double auc(const L& logits, metrics::Labels labels) {
  const auto z = metrics::detail::checked(logits, labels, "fair::auc");
  require<shape_error>(z.extent(1) >= 2, "fair::auc: expected at least 2 classes, got logits ", to_string(z.shape));
  std::vector<double> score;
  for (index_t i = 0; i < z.extent(0); ++i) {
    double other = std::numeric_limits<double>::lowest();
    for (index_t c = 0; c < z.extent(1); ++c)
      if (c != 1) other = std::max(other, static_cast<double>(z(i, c)));
    score.push_back(static_cast<double>(z(i, 1)) - other);
  }
  std::vector<std::size_t> order(score.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return score[a] < score[b]; });
  double ranks = 0, positives = 0;
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first;
    while (last + 1 < order.size() && score[order[last + 1]] == score[order[first]]) ++last;
    for (std::size_t k = first; k <= last; ++k)
      if (labels(static_cast<index_t>(order[k])) == 1) ranks += 0.5 * static_cast<double>(first + last) + 1, positives += 1;
    first = last + 1;
  }
  const double negatives = static_cast<double>(score.size()) - positives;
  return positives > 0 && negatives > 0 ? (ranks - positives * (positives + 1) / 2) / (positives * negatives) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace retort::fair
