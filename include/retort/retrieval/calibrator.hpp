#pragma once

#include <retort/retrieval/answer.hpp>

namespace retort::retrieval {

/// One setting of retrieval and what it gave on the validation split.
struct Setting {
  index_t k = 0;
  double lambda = 1, temperature = 0;
  double accuracy = 0, log_loss = 0;  ///< share of right answers; mean of -log y'_label
};
/// The chosen setting and all that were tried.
struct Calibration {
  Setting best;
  std::vector<Setting> tried;
};

/// By what the calibrator chooses.
enum class Criterion {
  accuracy,  ///< the most right answers; of equals the smallest log loss
  log_loss   ///< the smallest log loss: uses every sample's probability, hence steadier on small splits
};

/// Picks k, lambda and the temperature of retrieval on a validation split: split off from the training set, neither in the base nor
/// in what is reported. Retrains nothing: one look-up of the largest k serves all settings. Of equal settings the one that
/// leans more on the student (larger lambda), then the smaller k.
struct Calibrator {
  std::vector<index_t> k{1, 4, 8, 16, 32};
  std::vector<double> lambda{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
  std::vector<double> temperature{0.1};
  Criterion criterion = Criterion::accuracy;

  /// `own`: the student's probabilities (N x C); `found`: the neighbours of its embeddings in `base`, at least the largest k or the
  /// whole base. Throws value_error for an empty grid or a setting out of range, shape_error when the sizes disagree.
  template <class Base, class T>
  Calibration operator()(const Base& base, const Neighbours& found, View<T, 2> own, View<const std::int32_t, 1> labels) const {
    require<value_error>(!k.empty() && !lambda.empty() && !temperature.empty(), "retrieval::Calibrator: a grid is empty: ", k.size(), " values of k, ",
                         lambda.size(), " of lambda, ", temperature.size(), " of the temperature");
    require<shape_error>(own.shape == Shape<2>{labels.size(), base.classes()} && found.queries() == labels.size() && labels.size() > 0,
                         "retrieval::Calibrator: ", labels.size(), " labels, ", found.queries(), " look-ups, probabilities of shape ", own.shape,
                         ", a base of ", base.classes(), " classes");
    const index_t largest = *std::max_element(k.begin(), k.end());
    require<value_error>(*std::min_element(k.begin(), k.end()) >= 1 && found.k() >= std::min(largest, base.size()), "retrieval::Calibrator: the grid asks for ",
                         *std::min_element(k.begin(), k.end()), " to ", largest, " neighbours, ", found.k(), " were looked up");
    for (const double l : lambda) check_lambda(l);
    Calibration out;
    for (const double t : temperature)
      for (const index_t count : k) {
        const Tensor<double, 2> retrieved = retrieved_labels(base, found, t, count);
        for (const double l : lambda) out.tried.push_back(measure({count, l, t}, own, retrieved, labels));
      }
    out.best = out.tried.front();
    for (const Setting& s : out.tried)
      if (better(s, out.best)) out.best = s;
    return out;
  }

 private:
  template <class T>
  static Setting measure(Setting s, View<T, 2> own, const Tensor<double, 2>& retrieved, View<const std::int32_t, 1> labels) {
    index_t right = 0;
    for (index_t i = 0; i < labels.size(); ++i) {
      const std::int32_t y = labels.data[i];
      require<value_error>(y >= 0 && y < own.extent(1), "retrieval::Calibrator: label ", y, " of sample ", i, " is outside [0, ", own.extent(1), ")");
      index_t guess = 0;
      double top = -1, at_label = 0;
      for (index_t c = 0; c < own.extent(1); ++c) {
        const double p = static_cast<double>(mixed(s.lambda, own(i, c), retrieved(i, c)));
        if (p > top) top = p, guess = c;
        if (c == y) at_label = p;
      }
      right += guess == y;
      s.log_loss -= std::log(std::max(at_label, 1e-12));
    }
    s.accuracy = static_cast<double>(right) / static_cast<double>(labels.size());
    s.log_loss /= static_cast<double>(labels.size());
    return s;
  }
  bool better(const Setting& a, const Setting& b) const {
    if (criterion == Criterion::accuracy && a.accuracy != b.accuracy) return a.accuracy > b.accuracy;
    if (a.log_loss != b.log_loss) return a.log_loss < b.log_loss;
    if (a.lambda != b.lambda) return a.lambda > b.lambda;
    return a.k < b.k;
  }
};

}  // namespace retort::retrieval
