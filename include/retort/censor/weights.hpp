#pragma once

#include <retort/core/finite.hpp>
#include <retort/method/roles.hpp>
#include <vector>

namespace retort::censor {

namespace detail {
/// The entries of `table` at the batch's positions in the data set. Throws value_error where one is missing.
template <class E>
auto look_up(const E& exchange, const std::vector<float>& table, const char* who) {
  using T = typename decltype(exchange.extras)::value_type;
  require<value_error>(exchange.ids.size() > 0, who, ": the batch does not say where in the data set its samples stand; use source::Dataset");
  return exchange.tape.from_host(Shape<1>{exchange.ids.size()}, [&](View<T, 1> out) {
    for (index_t i = 0; i < out.size(); ++i) {
      const index_t id = exchange.ids.data[i];
      require<value_error>(id >= 0 && id < static_cast<index_t>(table.size()), who, ": no entry for sample ", id, ", there are ", table.size());
      out.data[i] = static_cast<T>(table[static_cast<std::size_t>(id)]);
    }
  });
}
template <class B>
void check_table(const std::vector<float>& table, const Setup<B>& setup, const char* who) {
  require<shape_error>(static_cast<index_t>(table.size()) == setup.samples, who, ": expected one number per sample of the data, ",
                       setup.samples, ", got ", table.size());
  for (std::size_t i = 0; i < table.size(); ++i)
    require<value_error>(is_finite(table[i]), who, ": entry ", i, " is not finite");
}
}  // namespace detail

/// A given weight for each sample of the data set: boosting, importance, suppression (negative).
struct Weights {
  using role = retort::role::censor;
  std::vector<float> per_sample{};  ///< by position in the data set

  /// Throws shape_error or value_error when the table does not fit the data.
  template <class T, class B, class Data>
  void prepare(const Setup<B>& setup, const Data&) const { detail::check_table(per_sample, setup, "censor::Weights"); }
  template <class E>
  void apply(E& exchange) const { exchange.weights = detail::look_up(exchange, per_sample, "censor::Weights"); }
  std::string describe() const { return "given weights"; }
};

/// A given gate in [0, 1] for each sample: an oracle, the gates of a trained guide, or a control (constant, permuted).
struct Gates {
  using role = retort::role::censor;
  std::vector<float> per_sample{};  ///< by position in the data set

  template <class T, class B, class Data>
  void prepare(const Setup<B>& setup, const Data&) const {
    detail::check_table(per_sample, setup, "censor::Gates");
    for (std::size_t i = 0; i < per_sample.size(); ++i)
      require<value_error>(per_sample[i] >= 0 && per_sample[i] <= 1, "censor::Gates: entry ", i, " is ", per_sample[i], ", expected 0 to 1");
  }
  template <class E>
  void apply(E& exchange) const {
    const auto gates = detail::look_up(exchange, per_sample, "censor::Gates");
    exchange.extras = exchange.tape.constant(gates.reshape(Shape<2>{gates.size(), 1}));
  }
  std::string describe() const { return "given gates"; }
};

}  // namespace retort::censor
