#pragma once

#include <retort/retrieval/answer.hpp>

namespace retort::retrieval {

/// What a calibrator raises: the mean of a score of the answer y' (`classes` probabilities at p) to a sample of that label.
template <class C>
concept CalibrationCriterion = requires(const C& c, const double* p) {
  { c(p, index_t{}, index_t{}) } -> std::convertible_to<double>;
};
#define RETORT_CRITERION_MESSAGE \
  "retort: a calibrator's criterion scores one answer: double operator()(const double* probabilities, index_t classes, index_t label) const; see " \
  "retort/retrieval/calibrator.hpp"

/// 1 for a right answer, 0 for a wrong one.
struct ByAccuracy {
  double operator()(const double* p, index_t classes, index_t label) const { return std::max_element(p, p + classes) - p == label ? 1 : 0; }
};
/// The log of the label's probability, at least log 1e-12.
struct ByLikelihood {
  double operator()(const double* p, index_t, index_t label) const { return std::log(std::max(p[label], 1e-12)); }
};

/// One setting of retrieval and what it gave on the validation split.
struct Setting {
  index_t k = 0;
  double lambda = 1, temperature = 0;
  double accuracy = 0, log_loss = 0;  ///< share of right answers; mean of -log y'_label
  double score = 0;                   ///< mean of the criterion
};
/// The chosen setting and all that were tried; what the highest score has above the student alone, and the standard error of that.
struct Calibration {
  Setting best;
  std::vector<Setting> tried;
  double gain = 0, gain_error = 0;
};

/// Picks k, lambda and the temperature of retrieval on a validation split: split off from the training set, neither in the base nor
/// in what is reported. Retrains nothing: one look-up of the largest k serves all settings. Takes the highest mean score; of equals
/// the smaller log loss, then the one that leans more on the student (larger lambda), then the smaller k.
///
/// Where the grid holds lambda = 1, the student alone answers unless the winner's gain over it exceeds `standard_errors` times
/// the gain's own standard error, paired sample by sample. The winner is the highest of dozens of settings, so its gain on the split is
/// high by selection; where retrieval is noise, that alone would switch it on (that is the one-standard-error rule of Breiman et al.,
/// "Classification and Regression Trees", 1984, with the student as the simplest model). 0 takes every winner. The likelihood is the default because it uses how sure an
/// answer is, where accuracy counts the few samples whose answer changes: cross-fitted on four validation splits it chose better on the
/// mean, with the rule and without (benchmarks/results/reaugkd.md).
template <class Criterion = ByLikelihood>
struct Calibrator {
  static_assert(CalibrationCriterion<Criterion>, RETORT_CRITERION_MESSAGE);

  std::vector<index_t> k{1, 4, 8, 16, 32};
  std::vector<double> lambda{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
  std::vector<double> temperature{0.1};
  double standard_errors = 1;  ///< >= 0
  Criterion criterion{};

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
    require<value_error>(standard_errors >= 0, "retrieval::Calibrator: expected standard_errors of at least 0, got ", standard_errors);
    for (const double l : lambda) check_lambda(l);
    for (index_t i = 0; i < labels.size(); ++i)
      require<value_error>(labels.data[i] >= 0 && labels.data[i] < own.extent(1), "retrieval::Calibrator: label ", labels.data[i], " of sample ", i,
                           " is outside [0, ", own.extent(1), ")");
    Calibration out;
    std::vector<double> scores, winner, alone;
    Setting student;
    for (const double t : temperature)
      for (const index_t count : k) {
        const Tensor<double, 2> retrieved = retrieved_labels(base, found, t, count);
        for (const double l : lambda) {
          const Setting s = measure({count, l, t}, own, retrieved, labels, scores);
          if (out.tried.empty() || better(s, out.best)) out.best = s, winner = scores;
          if (l == 1 && (alone.empty() || better(s, student))) student = s, alone = scores;
          out.tried.push_back(s);
        }
      }
    if (alone.empty() || out.best.lambda == 1) return out;
    const auto n = static_cast<double>(scores.size());
    double square = 0;
    out.gain = out.best.score - student.score;
    for (std::size_t i = 0; i < scores.size(); ++i) square += (winner[i] - alone[i] - out.gain) * (winner[i] - alone[i] - out.gain);
    out.gain_error = n > 1 ? std::sqrt(square / (n - 1) / n) : std::numeric_limits<double>::infinity();
    if (standard_errors > 0 && !(out.gain > standard_errors * out.gain_error)) out.best = student;
    return out;
  }

 private:
  template <class T>
  Setting measure(Setting s, View<T, 2> own, const Tensor<double, 2>& retrieved, View<const std::int32_t, 1> labels, std::vector<double>& scores) const {
    const index_t classes = own.extent(1);
    std::vector<double> answer(static_cast<std::size_t>(classes));
    scores.clear();
    for (index_t i = 0; i < labels.size(); ++i) {
      for (index_t c = 0; c < classes; ++c) answer[static_cast<std::size_t>(c)] = static_cast<double>(mixed(s.lambda, own(i, c), retrieved(i, c)));
      const index_t label = labels.data[i];
      scores.push_back(criterion(answer.data(), classes, label));
      s.score += scores.back();
      s.accuracy += ByAccuracy{}(answer.data(), classes, label);
      s.log_loss -= ByLikelihood{}(answer.data(), classes, label);
    }
    for (double* mean : {&s.score, &s.accuracy, &s.log_loss}) *mean /= static_cast<double>(labels.size());
    return s;
  }
  static bool better(const Setting& a, const Setting& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.log_loss != b.log_loss) return a.log_loss < b.log_loss;
    if (a.lambda != b.lambda) return a.lambda > b.lambda;
    return a.k < b.k;
  }
};

}  // namespace retort::retrieval
