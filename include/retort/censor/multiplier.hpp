#pragma once
// How the price of a guide's help and its budget move from epoch to epoch. All are pure functions of the epoch, except
// DualAscent, whose memory is part of checkpoints.

#include <algorithm>
#include <cmath>
#include <retort/core/error.hpp>
#include <retort/core/state.hpp>
#include <string>

namespace retort::censor {

namespace detail {
/// From 0 up to 1 within each period of half a cosine, then 0 again.
inline double rising(int epoch, int period) {
  return (1 - std::cos(3.14159265358979323846 * (epoch % period) / period)) / 2;
}
}  // namespace detail

/// The price lambda stays.
struct ConstantPrice {
  double price = 1;
  double value(int) const { return price; }
  void validate() const { require<value_error>(price >= 0, "censor::ConstantPrice: expected a price >= 0, got ", price); }
  std::string describe() const { return retort::detail::concat("price ", price); }
};

/// Rises along half a cosine and restarts: lambda(e) = min + (max - min) (1 - cos(pi (e mod period)/period)) / 2.
struct CosinePrice {
  double min = 1, max = 5;
  int period = 50;  ///< epochs
  double value(int epoch) const { return min + (max - min) * detail::rising(epoch, period); }
  void validate() const {
    require<value_error>(min >= 0 && max >= min && period >= 1, "censor::CosinePrice: expected 0 <= min <= max and a period of at least 1 epoch, got ",
                         min, ", ", max, ", ", period);
  }
  std::string describe() const { return retort::detail::concat("price ", min, " to ", max, " in ", period); }
};

/// The dual variable of the budget: after each epoch lambda <- max(0, lambda + rate * mean(B - delta)) over the guide's
/// turns, so that it falls too when the budget is not used up. Starts anew every `restart` epochs.
struct DualAscent {
  double start = 1, rate = 0.5;
  int restart = 10;  ///< epochs; 0: never
  struct Memory {
    double price = 0, sum = 0, turns = 0, epoch = -1;  ///< doubles throughout: one visitor serves
  } memory{};

  double value(int epoch) {
    if (memory.epoch < 0 || (restart > 0 && epoch != static_cast<int>(memory.epoch) && epoch % restart == 0)) {
      memory = {start, 0, 0, static_cast<double>(epoch)};
    } else if (epoch != static_cast<int>(memory.epoch)) {
      if (memory.turns > 0) memory.price = std::max(0., memory.price + rate * memory.sum / memory.turns);
      memory = {memory.price, 0, 0, static_cast<double>(epoch)};
    }
    return memory.price;
  }
  void observe(double excess) {
    memory.sum += excess;
    ++memory.turns;
  }
  void visit_state(const StateVisitor& visit) {
    visit("price", memory.price);
    visit("sum", memory.sum);
    visit("turns", memory.turns);
    visit("epoch", memory.epoch);
  }
  void validate() const {
    require<value_error>(start >= 0 && rate > 0 && restart >= 0, "censor::DualAscent: expected start >= 0, rate > 0 and restart >= 0, got ", start,
                         ", ", rate, ", ", restart);
  }
  std::string describe() const { return retort::detail::concat("price by dual ascent from ", start, " at rate ", rate, ", anew every ", restart); }
};

/// The budget delta: falls along half a cosine within each period, from `max` to `min`; each period starts `decay` times
/// lower, but never below `min` (in the authors' code it may, and then rises).
struct Budget {
  double min = 0.4, max = 0.6;
  int period = 20;  ///< epochs
  double decay = 0.9;

  double value(int epoch) const {
    const double top = std::max(min, max * std::pow(decay, epoch / period));
    return top + (min - top) * detail::rising(epoch, period);
  }
  /// The same budget throughout.
  static Budget constant(double delta) { return {.min = delta, .max = delta}; }
  void validate() const {
    require<value_error>(min >= 0 && max >= min, "censor::Budget: a budget must not be below zero: expected 0 <= min <= max, got ", min, " and ", max);
    require<value_error>(period >= 1 && decay > 0 && decay <= 1, "censor::Budget: expected a period of at least 1 epoch and 0 < decay <= 1, got ",
                         period, " and ", decay);
  }
  std::string describe() const { return retort::detail::concat("budget ", max, " to ", min, " in ", period, ", decay ", decay); }
};

}  // namespace retort::censor
