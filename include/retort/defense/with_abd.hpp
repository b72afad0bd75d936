#pragma once

#include <retort/defense/self_retrospection.hpp>
#include <retort/defense/shuffling_vaccine.hpp>
#include <retort/defense/soft_suppress.hpp>
#include <retort/method/distiller.hpp>
#include <retort/train/fit.hpp>

namespace retort {

namespace detail {
template <class Method, bool Synthesises = Method::source::needs_input_gradient>
struct vaccinated {  // synthesis is steered away from the backdoor
  using type = typename Method::template with_source<
      defense::ShufflingVaccine<typename Method::source, architecture_of<typename Method::teacher>, typename Method::backend>>;
};
template <class Method>
struct vaccinated<Method, false> {  // given images are censored
  using type = typename Method::template with_censor<
      defense::SoftSuppress<architecture_of<typename Method::teacher>, typename Method::censor, typename Method::backend>>;
};
}  // namespace detail

/// A method with ABD's first defence: a ShufflingVaccine around a source that synthesises, a SoftSuppress around the censor
/// of one that does not.
template <class Method>
using WithVaccine = typename detail::vaccinated<Method>::type;

/// A method with ABD's second defence, perturbations searched on the teacher; `Kl` as in SelfRetrospection.
template <class Method, class Kl = loss::KlMean>
using WithRetrospection = typename Method::template with_student<
    defense::SelfRetrospection<typename Method::student, architecture_of<typename Method::teacher>, Kl>>;

/// Anti-Backdoor Data-Free distillation around any data-free method, which stays as it is: vaccine early, self-retrospection
/// late. Hong et al. 2023, "Revisiting Data-Free Knowledge Distillation with Poisoned Teachers". Example:
/// benchmarks/abd/abd.cpp.
template <class Method, class Kl = loss::KlMean>
using WithAbd = WithRetrospection<WithVaccine<Method>, Kl>;

namespace defense {

/// The two phases of a method WithAbd as published: the vaccine with one optimiser, then self-retrospection, without the
/// vaccine, with a fresh one at a low rate for `late_epochs` more. `late` should start at about a quarter of the first
/// rate or less. The phases' own `start` and `until` are set for the two runs and put back.
template <class Method, class Data, class First, class Late, class... Callbacks>
std::pair<Report, Report> fit_in_phases(Method& method, const Data& data, const First& first, const FitOptions& options, const Late& late,
                                        int late_epochs, Callbacks&&... callbacks) {
  auto& start = method.student_policy().options.start;
  auto& until = [&]() -> double& {
    if constexpr (requires { method.source_policy().options.until; })
      return method.source_policy().options.until;
    else
      return method.censor_policy().options.until;
  }();
  struct Restore {
    double &start, &until, a, b;
    ~Restore() { start = a, until = b; }
  } restore{start, until, start, until};
  start = until = 2;  // beyond the end: the vaccine all along, no retrospection
  Report early = fit(method, data, first, options, callbacks...);
  start = until = 0;
  FitOptions rest = options;
  rest.epochs = late_epochs;
  rest.seed = Rng(options.seed).fork(0x6c617465).at(0);
  return {std::move(early), fit(method, data, late, rest, callbacks...)};
}

}  // namespace defense
}  // namespace retort
