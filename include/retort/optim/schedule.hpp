#pragma once
// Learning-rate schedules: pure functions of the position in training, so that a resumed run needs no history. The one
// exception, ReduceOnPlateau, keeps a small state that checkpoints save.

#include <algorithm>
#include <cmath>
#include <retort/core/error.hpp>
#include <retort/core/finite.hpp>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace retort::optim {

/// Factor 1 throughout.
struct Constant {
  std::string describe() const { return "constant"; }
  double factor(double, double) const { return 1; }
};
/// Times gamma after every `every` epochs.
struct Step {
  double every = 30, gamma = 0.1;
  std::string describe() const { return retort::detail::concat("step every ", every, " by ", gamma); }
  double factor(double epoch, double) const { return std::pow(gamma, std::floor(epoch / every)); }
};
/// Times gamma at each milestone (in epochs): 150, 180, 210 in the CIFAR-100 recipe.
struct MultiStep {
  std::vector<double> milestones;
  double gamma = 0.1;
  std::string describe() const {
    std::string out = retort::detail::concat("steps by ", gamma, " at");
    for (const double m : milestones) out += retort::detail::concat(" ", m);
    return out;
  }
  double factor(double epoch, double) const {
    return std::pow(gamma, std::count_if(milestones.begin(), milestones.end(), [=](double m) { return epoch >= m; }));
  }
};
/// From 1 to `floor` along half a cosine over the whole run (Loshchilov & Hutter 2017).
struct Cosine {
  double floor = 0;
  std::string describe() const { return retort::detail::concat("cosine to ", floor); }
  double factor(double epoch, double epochs) const {
    const double at = epochs > 0 ? std::min(1.0, epoch / epochs) : 1.0;
    return floor + (1 - floor) * (1 + std::cos(3.14159265358979323846 * at)) / 2;
  }
};
/// Cosine with warm restarts, SGDR: periods of `period`, `period*growth`, ... epochs.
struct CosineWarmRestarts {
  double period = 10, growth = 1, floor = 0;
  std::string describe() const { return retort::detail::concat("cosine restarts of ", period, " times ", growth, " to ", floor); }
  double factor(double epoch, double) const {
    double length = period;
    while (epoch >= length) {
      epoch -= length;
      length *= growth;
    }
    return Cosine{floor}.factor(epoch, length);
  }
};
/// Times gamma when a watched metric has not improved by `min_change` for `patience` epochs.
struct ReduceOnPlateau {
  double gamma = 0.1;
  int patience = 10;
  double min_change = 1e-4;
  bool larger_is_better = false;

  /// What it has seen; checkpoints save it. Doubles throughout, so that one visitor serves.
  struct Memory {
    double factor = 1, best = 0, bad = 0, started = 0;
  } memory{};

  std::string describe() const {
    return retort::detail::concat("plateau by ", gamma, " after ", patience, ", min_change ", min_change, larger_is_better ? ", larger is better" : "");
  }
  double factor(double, double) const { return memory.factor; }
  void observe(double metric) {
    const double score = larger_is_better ? -metric : metric;
    if (memory.started == 0 || score < memory.best - min_change) {
      memory.best = score;
      memory.bad = 0;
    } else if (++memory.bad > patience) {
      memory.factor *= gamma;
      memory.bad = 0;
    }
    memory.started = 1;
  }
};

/// A rule and an optional linear warm-up over the first `warmup` epochs:
/// `.schedule = {.rule = optim::Cosine{}, .warmup = 5}`. A rule of one's own: a struct derived from Schedule whose `factor` and
/// `describe` hide these, as the member `schedule` of a struct derived from an optimiser, whose `describe` names it: a run resumes
/// only under the same description.
struct Schedule {
  std::variant<Constant, Step, MultiStep, Cosine, CosineWarmRestarts, ReduceOnPlateau> rule = Constant{};
  double warmup = 0;

  /// Throws value_error where no factor follows from the rule's numbers.
  void check() const {
    const auto positive = [](const char* what, double value) {
      require<value_error>(value > 0 && is_finite(value), "optim::Schedule: expected ", what, " to be finite and above 0, got ", value);
    };
    with_rule([&](const auto& r) {
      if constexpr (requires { r.every; }) positive("every", r.every);
      if constexpr (requires { r.gamma; }) positive("gamma", r.gamma);
      if constexpr (requires { r.period; }) positive("period", r.period), positive("growth", r.growth);
    });
  }
  std::string describe() const {
    std::string name;
    with_rule([&](const auto& r) { name = r.describe(); });
    return warmup > 0 ? retort::detail::concat(name, ", warm-up ", warmup) : name;
  }
  /// Factor on the base learning rate at `epoch` (fractional: epoch + step/steps_per_epoch) of `epochs`.
  double factor(double epoch, double epochs) const {
    double base = 1;
    with_rule([&](const auto& r) { base = r.factor(epoch, epochs); });
    return warmup > 0 && epoch < warmup ? base * (epoch / warmup) : base;
  }
  /// Reports the watched metric of an epoch; only ReduceOnPlateau listens.
  void observe(double metric) {
    if (auto* plateau = std::get_if<ReduceOnPlateau>(&rule)) plateau->observe(metric);
  }

 private:
  /// f(the rule): what std::visit does, which costs a compiler several times as much.
  template <class F>
  void with_rule(F&& f) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((rule.index() == I ? f(*std::get_if<I>(&rule)) : void()), ...);
    }(std::make_index_sequence<std::variant_size_v<decltype(rule)>>{});
  }
};

}  // namespace retort::optim
