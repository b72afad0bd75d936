#pragma once
// What experiments share: arguments of the form name=value, the line that says what ran where, tables of scores with paired tests.

#include <ctime>
#include <iomanip>
#include <iostream>
#include <map>
#include <retort.hpp>

#include "machine.hpp"

namespace experiment {

using namespace retort;

/// Options of the form name=value.
class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      const auto at = word.find('=');
      if (at == std::string::npos) throw value_error("expected name=value, got '" + word + "'");
      given_[word.substr(0, at)] = word.substr(at + 1);
      line_ += " " + word;
    }
  }
  double number(const std::string& name, double fallback) const { return has(name) ? std::stod(given_.at(name)) : fallback; }
  int count(const std::string& name, int fallback) const { return has(name) ? std::stoi(given_.at(name)) : fallback; }
  std::string text(const std::string& name, const std::string& fallback) const { return has(name) ? given_.at(name) : fallback; }
  const std::string& line() const { return line_; }

 private:
  bool has(const std::string& name) const { return given_.count(name) > 0; }
  std::map<std::string, std::string> given_;
  std::string line_;
};

inline void print_header(const char* program, const Arguments& arguments) {
  char date[16];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  std::cout << "Command: `" << program << arguments.line() << "`; " << bench::processor() << ", one thread; " << date << ".\n\n";
}

/// Scores by arm, one per seed, in the order of their first appearance.
class Table {
 public:
  void add(const std::string& arm, double score) {
    if (!scores_.count(arm)) order_.push_back(arm);
    scores_[arm].push_back(score);
  }
  const std::vector<double>& operator[](const std::string& arm) const { return scores_.at(arm); }
  /// Markdown: mean and deviation of each arm, and its paired difference from `base`.
  void print(const std::string& base) const {
    std::cout << "|arm|mean|sd|minus " << base << "|t-test p (two-sided)|sign test p|\n|---|---|---|---|---|---|\n" << std::fixed;
    for (const auto& arm : order_) {
      const auto& s = scores_.at(arm);
      std::cout << '|' << arm << '|' << std::setprecision(2) << statistics::mean(s) << '|' << (s.size() > 1 ? statistics::standard_deviation(s) : 0) << '|';
      if (arm == base || !scores_.count(base) || s.size() < 2) {
        std::cout << "|||\n";
        continue;
      }
      const auto& b = scores_.at(base);
      std::cout << std::showpos << statistics::mean(s) - statistics::mean(b) << std::noshowpos << '|' << std::setprecision(4)
                << statistics::paired_t_test(s, b).p_two_sided << '|' << statistics::sign_test(s, b).p_two_sided << "|\n";
    }
    std::cout << std::endl;
  }

 private:
  std::vector<std::string> order_;
  std::map<std::string, std::vector<double>> scores_;
};

template <class N, class Data>
double accuracy(N& network, const Data& data) {
  Cpu cpu;
  return 100 * metrics::accuracy(predict_logits(network, data, cpu), data.label_view());
}

}  // namespace experiment
