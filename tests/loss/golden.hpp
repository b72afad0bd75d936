#pragma once
// The golden file's rows and inputs.

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "row_loss_fixture.hpp"

namespace retort::test {

struct Golden {
  double value, gradient_norm;
};

inline std::map<std::string, Golden> read_golden() {
  std::ifstream file(std::filesystem::path(__FILE__).parent_path().parent_path() / "golden" / "losses-golden.tsv");
  REQUIRE(file.is_open());
  std::map<std::string, Golden> out;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#' || line.rfind("name\t", 0) == 0) continue;
    std::istringstream fields(line);
    std::string name, parameters, value, gradient;
    std::getline(fields, name, '\t');
    std::getline(fields, parameters, '\t');
    std::getline(fields, value, '\t');
    std::getline(fields, gradient, '\t');
    out[name + ": " + parameters] = {std::stod(value), std::stod(gradient)};
  }
  return out;
}

template <class T>
Problem<T> golden_inputs() {
  Problem<T> p(4, 5);
  for (int n = 0; n < 4; ++n) {
    p.labels[static_cast<std::size_t>(n)] = (2 * n + 1) % 5;
    for (int c = 0; c < 5; ++c) {
      p.student[static_cast<std::size_t>(5 * n + c)] = static_cast<T>(2 * std::sin(1.3 * n + 0.7 * c + 0.1));
      p.teacher[static_cast<std::size_t>(5 * n + c)] = static_cast<T>(3 * std::cos(0.9 * n - 0.5 * c + 0.2));
    }
  }
  return p;
}

template <class T, class Loss>
void check_row(const std::map<std::string, Golden>& golden, const std::string& key, const Loss& loss, Problem<T> p) {
  CAPTURE(key);
  REQUIRE(golden.count(key) == 1);
  const Golden expected = golden.at(key);
  const double value = p.evaluate(loss);
  CHECK(std::abs(value - expected.value) <= value_tolerance<T> * std::max(1., std::abs(expected.value)));
  CHECK(std::abs(norm(p.d_student) - expected.gradient_norm) <= (sizeof(T) == 4 ? 1e-5 : 1e-9) * std::max(1., expected.gradient_norm));
}

}  // namespace retort::test
