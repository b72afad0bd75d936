#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <retort/autograd/ops_nn.hpp>
#include <retort/method/roles.hpp>
#include <retort/nn/sequential.hpp>

namespace retort::censor {

/// Largest probability, in [1/C, 1].
struct Confidence {
  template <class T>
  static T of(const T* log_p, index_t classes, std::int32_t) {
    return std::exp(*std::max_element(log_p, log_p + classes));
  }
  static std::string describe() { return "confidence"; }
};
/// Entropy of the probabilities in nats, in [0, log C].
struct Entropy {
  template <class T>
  static T of(const T* log_p, index_t classes, std::int32_t) {
    T sum = 0;
    for (index_t c = 0; c < classes; ++c) sum -= std::exp(log_p[c]) * log_p[c];
    return sum;
  }
  static std::string describe() { return "entropy"; }
};
/// Cross-entropy with the label in nats.
struct LabelLoss {
  template <class T>
  static T of(const T* log_p, index_t, std::int32_t label) {
    return -log_p[label];
  }
  static std::string describe() { return "loss"; }
};

/// Whose logits are measured.
struct OfTeacher {
  template <class E>
  static auto logits(const E& exchange) { return result_of(exchange.teacher); }
  static std::string describe() { return "teacher's "; }
};
struct OfStudent {
  template <class E>
  static auto logits(const E& exchange) { return result_of(exchange.student); }
  static std::string describe() { return "student's "; }
};

/// Keeps the samples whose confidence, entropy or loss (at temperature one) lies in [low, high]: weight 1, others
/// `outside`. `Threshold<Confidence>{.low = 0.9}` drops what the teacher is unsure of. The loss still divides by all
/// rows of the batch. Throws value_error when low > high, shape_error when LabelLoss meets a batch without labels.
template <class Measure, class Whose = OfTeacher>
struct Threshold {
  using role = retort::role::censor;
  double low = std::numeric_limits<double>::lowest();
  double high = std::numeric_limits<double>::max();
  double outside = 0;

  template <class E>
  void apply(E& exchange) const {
    auto& tape = exchange.tape;
    require<value_error>(low <= high, "censor::Threshold: expected low <= high, got ", low, " and ", high);
    const auto logits = tape.detach(Whose::logits(exchange));
    using T = typename decltype(logits.value)::value_type;
    require<shape_error>(!std::is_same_v<Measure, LabelLoss> || exchange.labels.size() == logits.extent(0),
                         "censor::Threshold: the loss needs a label per row, got ", exchange.labels.size(), " for ", logits.extent(0), " rows");
    const auto log_p = tape.on_host(log_softmax(tape, logits).value);
    const auto labels = tape.on_host(exchange.labels);
    exchange.weights = tape.from_host(Shape<1>{logits.extent(0)}, [&](View<T, 1> weights) {
      for (index_t i = 0; i < weights.size(); ++i) {
        if constexpr (std::is_same_v<Measure, LabelLoss>)
          require<value_error>(labels.data[i] >= 0 && labels.data[i] < log_p.extent(1), "censor::Threshold: label ", labels.data[i], " of row ", i,
                               " is outside [0, ", log_p.extent(1), ")");
        const double m = static_cast<double>(Measure::of(log_p.row(i), log_p.extent(1), labels.empty() ? 0 : labels.data[i]));
        weights.data[i] = low <= m && m <= high ? T(1) : static_cast<T>(outside);
      }
    });
  }
  std::string describe() const {
    return retort::detail::concat("keep ", Whose::describe(), Measure::describe(), " in [", low, ", ", high, "], others ", outside);
  }
};

}  // namespace retort::censor
