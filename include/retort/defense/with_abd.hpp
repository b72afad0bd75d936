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
/// late. Hong et al. 2023, "Revisiting Data-Free Knowledge Distillation with Poisoned Teachers". Examples: examples/anti_backdoor.cpp,
/// benchmarks/abd/abd.cpp.
template <class Method, class Kl = loss::KlMean>
using WithAbd = WithRetrospection<WithVaccine<Method>, Kl>;

namespace defense {

/// The two phases of a method with self-retrospection as published: the vaccine, where there is one, with one optimiser, then
/// self-retrospection, without the vaccine, with a fresh one at a low rate for `late_epochs` more. `late` should start at
/// about a quarter of the first rate or less; a generator's own rate falls by the same factor, since its images should not
/// run away from a student that hardly moves. What the phases set is put back.
template <class Method, class Data, class First, class Late, class... Callbacks>
std::pair<Report, Report> fit_in_phases(Method& method, const Data& data, const First& first, const FitOptions& options, const Late& late,
                                        int late_epochs, Callbacks&&... callbacks) {
  double none = 0;
  float unchanged = 0;
  auto& source = method.source_policy();
  struct Setting {
    double &start, &until;
    float& rate;
    const double a = start, b = until;
    const float c = rate;
    ~Setting() { start = a, until = b, rate = c; }
  } set{method.student_policy().options.start,
        [&]() -> double& {
          if constexpr (requires { source.options.until; })
            return source.options.until;
          else if constexpr (requires { method.censor_policy().options.until; })
            return method.censor_policy().options.until;
          else
            return none;
        }(),
        [&]() -> float& {
          if constexpr (requires { source.inner().options.optimizer.lr; })
            return source.inner().options.optimizer.lr;
          else if constexpr (requires { source.options.optimizer.lr; })
            return source.options.optimizer.lr;
          else
            return unchanged;
        }()};
  set.start = set.until = 2;  // beyond the end: the vaccine all along, no retrospection
  Report early = fit(method, data, first, options, callbacks...);
  set.start = set.until = 0;
  set.rate *= late.lr / first.lr;
  FitOptions rest = options;
  rest.epochs = late_epochs;
  rest.seed = Rng(options.seed).fork(0x6c617465).at(0);
  return {std::move(early), fit(method, data, late, rest, callbacks...)};
}

}  // namespace defense
}  // namespace retort
