#pragma once
// Scores that outlive a run, for experiments longer than a sitting.

#include <fstream>
#include <iomanip>
#include <map>
#include <optional>
#include <sstream>
#include <string>

namespace experiment {

/// Accuracy on the validation and on the test part.
struct Score {
  double val, test;
};
/// Scores by name, kept in a file where one is given. Lines: name, tab, value.
class Scores {
 public:
  explicit Scores(std::string file) : file_(std::move(file)) {
    std::ifstream in(file_);
    std::string name, value;
    while (std::getline(in, name, '\t') && std::getline(in, value)) known_[name] = std::stod(value);
  }
  std::optional<double> find(const std::string& name) const {
    const auto at = known_.find(name);
    return at == known_.end() ? std::nullopt : std::optional(at->second);
  }
  /// The value called `name`; `run` computes it where it is not known.
  template <class F>
  double get(const std::string& name, F&& run) {
    const auto known = find(name);
    return known ? *known : keep(name, run());
  }
  double keep(const std::string& name, double value) {
    if (!file_.empty()) {
      std::ostringstream line;  // one write: runs side by side append to the same file
      line << name << '\t' << std::setprecision(17) << value << '\n';
      std::ofstream(file_, std::ios::app) << line.str() << std::flush;
    }
    return known_[name] = value;
  }

 private:
  std::string file_;
  std::map<std::string, double> known_;
};

}  // namespace experiment
