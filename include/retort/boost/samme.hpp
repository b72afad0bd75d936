#pragma once
// How a chain's next student weighs the labels, by what its teacher makes of them.

#include <cmath>
#include <retort/core/error.hpp>
#include <retort/core/view.hpp>
#include <span>
#include <string>
#include <vector>

namespace retort::boost {

/// The label as a code that is 1 for the class and 0 for the others, as BGNN prints it: w *= p_y^(-(K-1)/K).
struct OneHotCode {
  static double margin(double log_p_label, double, double) { return log_p_label; }
  static std::string describe() { return "one-hot"; }
};
/// 1 for the class, -1/(K-1) for the others, as SAMME.R has it: w *= exp(-(K-1)/K (log p_y - mean of the others' log p)).
struct SignedCode {
  static double margin(double log_p_label, double mean_of_others, double) { return log_p_label - mean_of_others; }
  static std::string describe() { return "signed"; }
};

/// Between two links of a chain: `update(weights, teacher's logits, labels)` changes the weights of the samples.
template <class P>
concept BoostPolicy = requires(const P& p, std::span<float> weights, View<const float, 2> logits, std::span<const std::int32_t> labels) {
  p.update(weights, logits, labels);
};
#define RETORT_BOOST_MESSAGE                                                                                                \
  "retort: a Chain needs a boost policy: `update(weights, logits, labels)`, as boost::SammeR or boost::None has it; see "    \
  "retort/boost/samme.hpp"

/// Weights stay as they are.
struct None {
  template <class T>
  void update(std::span<float>, View<const T, 2>, std::span<const std::int32_t>) const {}
  std::string describe() const { return "no boosting"; }
};

/// SAMME.R (Zhu et al. 2009) between the links of a chain, as BGNN uses it: samples that the teacher gets wrong, or is unsure of,
/// weigh more in the next label loss: w_i *= exp(-(K-1)/K * margin(y_i, log p_i)), then the labelled weights are brought to
/// mean 1. `least`: log p is taken of max(p, least).
template <class Code = OneHotCode>
struct SammeR {
  double least = 1e-6;

  /// `labels` below 0: not labelled, the weight stays. Throws shape_error when the numbers of rows differ, value_error for a label
  /// out of range or no labelled sample.
  template <class T>
  void update(std::span<float> weights, View<const T, 2> logits, std::span<const std::int32_t> labels) const {
    const index_t rows = logits.extent(0), classes = logits.extent(1);
    require<shape_error>(static_cast<index_t>(weights.size()) == rows && static_cast<index_t>(labels.size()) == rows, "boost::SammeR: ", weights.size(), " weights, ",
                         labels.size(), " labels, logits of shape ", to_string(logits.shape));
    const double share = static_cast<double>(classes - 1) / static_cast<double>(classes);
    std::vector<double> updated(weights.begin(), weights.end());
    double total = 0, labelled = 0;
    for (index_t i = 0; i < rows; ++i) {
      const std::int32_t y = labels[static_cast<std::size_t>(i)];
      if (y < 0) continue;
      require<value_error>(y < classes, "boost::SammeR: sample ", i, " has label ", y, ", the teacher knows ", classes, " classes");
      double top = static_cast<double>(logits(i, 0)), sum = 0;
      for (index_t c = 0; c < classes; ++c) top = std::max(top, static_cast<double>(logits(i, c)));
      for (index_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(logits(i, c)) - top);
      const double log_sum = top + std::log(sum), floor = std::log(least);
      double own = 0, others = 0;
      for (index_t c = 0; c < classes; ++c) {
        const double log_p = std::max(floor, static_cast<double>(logits(i, c)) - log_sum);
        (c == y ? own : others) += log_p;
      }
      double& w = updated[static_cast<std::size_t>(i)];
      w *= std::exp(-share * Code::margin(own, others / static_cast<double>(classes - 1), static_cast<double>(classes)));
      total += w;
      labelled += 1;
    }
    require<value_error>(labelled > 0, "boost::SammeR: no sample is labelled");
    for (index_t i = 0; i < rows; ++i)
      if (labels[static_cast<std::size_t>(i)] >= 0) weights[static_cast<std::size_t>(i)] = static_cast<float>(updated[static_cast<std::size_t>(i)] * labelled / total);
  }
  std::string describe() const { return "SAMME.R, " + Code::describe(); }
};

/// Entropy of the labelled weights over its largest value: 1 when all are equal, 0 when one has everything. 1 for fewer than two.
inline double weight_evenness(std::span<const float> weights, std::span<const std::int32_t> labels) {
  double total = 0, entropy = 0, n = 0;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (labels[i] >= 0) total += static_cast<double>(weights[i]), n += 1;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (labels[i] >= 0 && weights[i] > 0) entropy -= weights[i] / total * std::log(weights[i] / total);
  return n > 1 ? entropy / std::log(n) : 1;
}

}  // namespace retort::boost
