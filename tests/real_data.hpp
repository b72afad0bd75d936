#pragma once
// Tests on data that is too large for the repository belong to a doctest suite named "needs-SET". They look under
// RETORT_DATA_DIR (environment, else the CMake cache entry); without the set they say so and ctest counts them as skipped
// (tests/CMakeLists.txt registers one ctest per set).

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#ifndef RETORT_DATA_DIR
#define RETORT_DATA_DIR ""
#endif

namespace test {

/// The folder of a set, or an empty string after a line that says what is missing and where to get it.
inline std::string real_data(const std::string& set, const std::string& file, const std::string& address) {
  const char* environment = std::getenv("RETORT_DATA_DIR");
  const std::string root = environment ? environment : RETORT_DATA_DIR;
  const std::string folder = (root.empty() ? "$RETORT_DATA_DIR" : root) + "/" + set;
  if (!root.empty() && std::filesystem::exists(folder + "/" + file)) return folder;
  std::cout << "SKIPPED: no " << folder << "/" << file << "; the data is at " << address << std::endl;
  return {};
}

}  // namespace test
