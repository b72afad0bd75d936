#pragma once

#include <retort/method/hinton.hpp>
#include <retort/train/fit.hpp>

namespace retort {

/// A chain of whole trainings: each generation is a fresh network of the teacher's architecture, taught by the one before
/// (born-again networks, Furlanello et al. 2018). `make_method(teacher, student, generation)` builds each link's method,
/// so links may differ in loss or censor. Returns the students in order; the last is the product.
template <class Architecture, class Backend, class Data, class Optimizer, class MakeMethod>
std::vector<Network<Architecture, Backend>> fit_generations(Network<Architecture, Backend>& first, int generations, const Data& data,
                                                            const Optimizer& optimizer, const FitOptions& options,
                                                            MakeMethod&& make_method) {
  require<value_error>(generations >= 1, "fit_generations: expected at least 1 generation, got ", generations);
  std::vector<Network<Architecture, Backend>> students;
  students.reserve(static_cast<std::size_t>(generations));
  for (int g = 0; g < generations; ++g) {
    Network<Architecture, Backend>& teacher = g == 0 ? first : students.back();
    FitOptions own = options;
    own.seed = Rng(options.seed).fork(static_cast<std::uint64_t>(g)).at(0);
    Network<Architecture, Backend> student(first.architecture(), own.seed);
    auto method = make_method(teacher, student, g);
    fit(method, data, optimizer, own);
    students.push_back(std::move(student));
  }
  return students;
}

/// The same with soft targets and hard labels at every link.
template <class Architecture, class Backend, class Data, class Optimizer>
std::vector<Network<Architecture, Backend>> fit_generations(Network<Architecture, Backend>& first, int generations, const Data& data,
                                                            const Optimizer& optimizer, const FitOptions& options,
                                                            const loss::HintonLoss& loss = {}) {
  return fit_generations(first, generations, data, optimizer, options, [&](auto& teacher, auto& student, int) {
    return BornAgain<Architecture, Backend>{teacher, student, loss};
  });
}

}  // namespace retort
