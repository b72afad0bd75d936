#pragma once
// Fair timing of the same work by several candidates in one process: warm up, calibrate the repetitions of each to a
// slice of about 2 ms, then rounds in rotating order, and the minimum of each candidate. Thread processor time. Slices are
// short and many because what disturbs them (a neighbour on the same core) comes and goes within a second, and
// takes more from code that keeps the core's units busy than from code that waits: the minimum should find each side alone.

#include <algorithm>
#include <cstdio>
#include <functional>
#include <machine.hpp>
#include <string>
#include <vector>

namespace peers {

/// One way of doing the work of a row.
struct Candidate {
  std::string name;
  std::function<void()> run;
  double seconds = 0, median = 0;  ///< best and median per call, filled in by `race`
};

inline void race(std::vector<Candidate>& candidates, double (*clock)() = &bench::thread_seconds) {
  constexpr double slice = 0.002, total = 1;  // seconds; of a candidate's slices together
  constexpr int least = 13;
  std::vector<int> repetitions;
  std::vector<std::vector<double>> slices(candidates.size());
  int rounds = 0;
  for (Candidate& c : candidates) {
    for (int i = 0; i < 3; ++i) c.run();
    const double start = clock();
    c.run();
    const double once = clock() - start;
    repetitions.push_back(std::max(1, static_cast<int>(slice / once)));
    rounds = std::max({rounds, least, static_cast<int>(total / (once * repetitions.back()))});
  }
  for (int round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      const std::size_t at = (i + static_cast<std::size_t>(round)) % candidates.size();
      const double start = clock();
      for (int r = 0; r < repetitions[at]; ++r) candidates[at].run();
      slices[at].push_back((clock() - start) / repetitions[at]);
    }
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    std::sort(slices[i].begin(), slices[i].end());
    candidates[i].seconds = slices[i].front();
    candidates[i].median = slices[i][slices[i].size() / 2];
  }
}

/// Races the candidates, Retort first, and prints a table row: each time, and Retort's ratio to the best of the others.
inline void row(const std::string& title, std::vector<Candidate> candidates, double flops = 0) {
  race(candidates);
  double peer = 1e30;
  std::printf("| %s ", title.c_str());
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    std::printf("| %.3f ", candidates[i].seconds * 1e3);
    if (i > 0) peer = std::min(peer, candidates[i].seconds);
  }
  std::printf("| **%.2f** |", peer / candidates[0].seconds);
  if (flops > 0) std::printf(" %.0f |", flops / candidates[0].seconds * 1e-9);
  std::printf("\n");
  std::fflush(stdout);
}

// The groups, each in a file of its own: prints a heading and a table.
void conv();
void norm();
void loss_group();
void row_losses();
void step();
void threads();

}  // namespace peers
