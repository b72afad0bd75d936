#pragma once
// Metrics of rankings and of regressions; the conventions of train/metrics.hpp.

#include <numeric>
#include <retort/train/metrics.hpp>
#include <span>

namespace retort::metrics {

/// Area under the precision-recall curve as average precision: the sum over distinct scores, from the highest, of the gain in
/// recall times the precision there; no interpolation, equal scores enter together. In [0, 1]. Throws shape_error for unequal
/// lengths, value_error for a score that is not finite or when nothing is relevant.
inline double average_precision(std::span<const double> scores, std::span<const std::uint8_t> relevant) {
  require<shape_error>(scores.size() == relevant.size(), "average_precision: ", scores.size(), " scores but ", relevant.size(), " marks");
  for (std::size_t i = 0; i < scores.size(); ++i) require<value_error>(std::isfinite(scores[i]), "average_precision: score ", i, " is not finite");
  const auto total = std::count_if(relevant.begin(), relevant.end(), [](std::uint8_t r) { return r != 0; });
  require<value_error>(total > 0, "average_precision: nothing is relevant");
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  double sum = 0, hits = 0, seen = 0;
  for (std::size_t i = 0; i < order.size();) {
    double gained = 0;
    const double score = scores[order[i]];
    for (; i < order.size() && scores[order[i]] == score; ++i, ++seen) gained += relevant[order[i]] != 0;
    hits += gained;
    sum += gained * hits / (seen);
  }
  return sum / static_cast<double>(total);
}

/// Average precision of N x C scores against N x C marks: over all pairs pooled, and the mean over the classes that occur.
struct AveragePrecision {
  double micro = 0, macro = 0;
};
inline AveragePrecision average_precision(View<const double, 2> scores, View<const std::uint8_t, 2> relevant) {
  require<shape_error>(scores.shape == relevant.shape, "average_precision: scores ", to_string(scores.shape), " but marks ", to_string(relevant.shape));
  AveragePrecision out;
  int occurring = 0;
  const auto n = static_cast<std::size_t>(scores.extent(0));
  for (index_t c = 0; c < scores.extent(1); ++c) {
    std::vector<double> s(n);
    std::vector<std::uint8_t> r(n);
    for (index_t i = 0; i < scores.extent(0); ++i) {
      s[static_cast<std::size_t>(i)] = scores(i, c);
      r[static_cast<std::size_t>(i)] = relevant(i, c);
    }
    if (std::none_of(r.begin(), r.end(), [](std::uint8_t x) { return x != 0; })) continue;
    out.macro += average_precision(s, r);
    ++occurring;
  }
  require<value_error>(occurring > 0, "average_precision: nothing is relevant");
  out.macro /= occurring;
  out.micro = average_precision({scores.data, static_cast<std::size_t>(scores.size())}, {relevant.data, static_cast<std::size_t>(relevant.size())});
  return out;
}
/// The same of a classifier: the scores of class c are its probabilities, the relevant samples those with label c.
template <Logits L>
AveragePrecision average_precision(const L& logits, Labels labels) {
  const auto z = detail::checked(logits, labels, "average_precision");
  std::vector<double> scores;
  std::vector<std::uint8_t> relevant;
  for (index_t i = 0; i < z.extent(0); ++i) {
    const double norm = detail::log_sum_exp(z.row(i), z.extent(1));
    for (index_t c = 0; c < z.extent(1); ++c) {
      scores.push_back(std::exp(static_cast<double>(z(i, c)) - norm));
      relevant.push_back(labels(i) == c);
    }
  }
  return average_precision(View<const double, 2>{scores.data(), z.shape}, View<const std::uint8_t, 2>{relevant.data(), z.shape});
}

/// Coefficients of determination about zero, 1 - sum (y - p)^2 / sum y^2, of predictions p (N x d) of targets y: in all, and
/// per component (1 where both are zero throughout). For targets of mean zero, such as a PCA's.
struct Determination {
  double total = 0;
  std::vector<double> component;
};
template <Logits A, Logits B>
Determination r_squared(const A& targets, const B& predictions) {
  const auto y = detail::checked(targets, "r_squared"), p = detail::checked(predictions, "r_squared");
  require<shape_error>(y.shape == p.shape, "r_squared: targets ", to_string(y.shape), ", predictions ", to_string(p.shape));
  const auto share = [](double error, double size) { return size > 0 ? 1 - error / size : error > 0 ? 0. : 1.; };
  Determination out;
  double all_errors = 0, all_sizes = 0;
  for (index_t c = 0; c < y.extent(1); ++c) {
    double errors = 0, sizes = 0;
    for (index_t i = 0; i < y.extent(0); ++i) {
      const double t = static_cast<double>(y(i, c)), d = t - static_cast<double>(p(i, c));
      errors += d * d;
      sizes += t * t;
    }
    out.component.push_back(share(errors, sizes));
    all_errors += errors;
    all_sizes += sizes;
  }
  out.total = share(all_errors, all_sizes);
  return out;
}

}  // namespace retort::metrics
