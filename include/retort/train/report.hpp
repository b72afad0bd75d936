#pragma once

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace retort {

/// What one epoch brought.
struct EpochRecord {
  int epoch = 0;
  double loss = 0;           ///< mean of the student's objective over its turns
  double learning_rate = 0;  ///< at the end of the epoch
  double seconds = 0;
  std::vector<std::pair<std::string, double>> metrics;  ///< added by callbacks, in their order

  /// The metric of that name, or NaN.
  double metric(const std::string& name) const {
    for (const auto& [key, value] : metrics)
      if (key == name) return value;
    return std::numeric_limits<double>::quiet_NaN();
  }
};

/// What `fit` returns: the recipe and its history. `io/json.hpp` writes it.
struct Report {
  std::string method, optimizer;
  std::uint64_t seed = 0;
  int epochs_planned = 0, threads = 1;
  std::int64_t batch_size = 0, samples = 0;
  bool stopped_early = false;
  std::vector<EpochRecord> epochs;

  double final_loss() const { return epochs.empty() ? std::numeric_limits<double>::quiet_NaN() : epochs.back().loss; }
  /// Last value of a metric that a callback recorded, or NaN.
  double final_metric(const std::string& name) const {
    return epochs.empty() ? std::numeric_limits<double>::quiet_NaN() : epochs.back().metric(name);
  }
};

namespace detail {
/// The history as a checkpoint keeps it: a line per epoch, numbers to the last bit.
inline std::string history_text(const std::vector<EpochRecord>& epochs) {
  std::ostringstream out;
  out << std::hexfloat;
  for (const auto& r : epochs) {
    out << r.epoch << ' ' << r.loss << ' ' << r.learning_rate << ' ' << r.seconds;
    for (const auto& [name, value] : r.metrics) out << ' ' << name << ' ' << value;
    out << '\n';
  }
  return out.str();
}
inline std::vector<EpochRecord> parse_history(const std::string& text) {
  std::vector<EpochRecord> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream in(line);
    auto number = [&] {  // operator>> does not read hexfloat
      std::string word;
      in >> word;
      return std::strtod(word.c_str(), nullptr);
    };
    EpochRecord r;
    in >> r.epoch;
    r.loss = number();
    r.learning_rate = number();
    r.seconds = number();
    for (std::string name; in >> name;) r.metrics.emplace_back(name, number());
    out.push_back(std::move(r));
  }
  return out;
}
}  // namespace detail

}  // namespace retort
