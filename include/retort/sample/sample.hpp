#pragma once
// Policies that choose a subset of vectors (to fit a projection to, say). A policy is an aggregate with
//   std::vector<index_t> select(const sample::Pool& pool, index_t k, Rng rng) const;    k different indices, ascending
//   std::string describe() const;
// The determinantal ones are in sample/dpp.hpp.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <retort/core/rng.hpp>
#include <retort/core/tensor.hpp>
#include <span>
#include <string>
#include <vector>

namespace retort {
namespace sample {

/// What there is to choose from. Spans may be empty where no policy asks for them.
struct Pool {
  View<const float, 2> vectors;          ///< M x n
  std::span<const double> relevance{};   ///< M, positive
  std::span<const std::int64_t> group{}; ///< M: day, sensor, speaker...
  index_t size() const { return vectors.extent(0); }
};

namespace detail {
inline void check(const char* who, const Pool& pool, index_t k) {
  require<value_error>(k >= 0 && k <= pool.size(), who, ": cannot choose ", k, " of ", pool.size(), " vectors");
}
inline void check_relevance(const char* who, const Pool& pool) {
  require<shape_error>(static_cast<index_t>(pool.relevance.size()) == pool.size(), who, ": expected a relevance for each of ", pool.size(),
                       " vectors, got ", pool.relevance.size());
  for (std::size_t i = 0; i < pool.relevance.size(); ++i)
    require<value_error>(pool.relevance[i] > 0 && std::isfinite(pool.relevance[i]), who, ": the relevance of vector ", i, " is ", pool.relevance[i],
                         ", expected a positive number");
}
/// The k smallest keys' positions, ascending.
inline std::vector<index_t> smallest(const std::vector<double>& keys, index_t k) {
  std::vector<index_t> order(keys.size());
  std::iota(order.begin(), order.end(), index_t{0});
  std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) { return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)]; });
  order.resize(static_cast<std::size_t>(k));
  std::sort(order.begin(), order.end());
  return order;
}
}  // namespace detail

/// Every subset of k alike.
struct Uniform {
  std::vector<index_t> select(const Pool& pool, index_t k, Rng rng) const {
    detail::check("sample::Uniform", pool, k);
    std::vector<double> keys(static_cast<std::size_t>(pool.size()));
    for (double& key : keys) key = rng.uniform_double();
    return detail::smallest(keys, k);
  }
  std::string describe() const { return "uniform"; }
};

/// Drawn one after the other with probabilities in proportion to relevance, without replacement (by exponential keys,
/// Efraimidis & Spirakis 2006). The law `spl` of SEA, with relevance the rank of loudness.
struct Weighted {
  std::vector<index_t> select(const Pool& pool, index_t k, Rng rng) const {
    detail::check("sample::Weighted", pool, k);
    detail::check_relevance("sample::Weighted", pool);
    std::vector<double> keys;
    for (const double r : pool.relevance) keys.push_back(-std::log(1 - rng.uniform_double()) / r);
    return detail::smallest(keys, k);
  }
  std::string describe() const { return "by relevance"; }
};

/// k split over the groups: ceil(k / groups) from each group that has as many, none from smaller ones; so the result may be
/// a little larger or smaller than k. SEA draws so from each day.
template <class Policy>
struct PerGroup {
  Policy policy{};

  std::vector<index_t> select(const Pool& pool, index_t k, Rng rng) const {
    require<shape_error>(static_cast<index_t>(pool.group.size()) == pool.size(), "sample::PerGroup: expected a group for each of ", pool.size(),
                         " vectors, got ", pool.group.size());
    detail::check("sample::PerGroup", pool, k);
    std::map<std::int64_t, std::vector<index_t>> members;
    for (index_t i = 0; i < pool.size(); ++i) members[pool.group[static_cast<std::size_t>(i)]].push_back(i);
    const auto groups = static_cast<index_t>(members.size()), each = groups ? (k + groups - 1) / groups : 0;
    std::vector<index_t> chosen;
    std::uint64_t number = 0;
    for (const auto& [group, own] : members) {
      const Rng stream = rng.fork(number++);
      if (static_cast<index_t>(own.size()) < each) continue;
      Tensor<float, 2> vectors(Shape{static_cast<index_t>(own.size()), pool.vectors.extent(1)});
      std::vector<double> relevance;
      for (std::size_t i = 0; i < own.size(); ++i) {
        std::copy_n(pool.vectors.row(own[i]), pool.vectors.extent(1), vectors.view().row(static_cast<index_t>(i)));
        if (!pool.relevance.empty()) relevance.push_back(pool.relevance[static_cast<std::size_t>(own[i])]);
      }
      for (const index_t i : policy.select(Pool{vectors.view(), relevance}, each, stream)) chosen.push_back(own[static_cast<std::size_t>(i)]);
    }
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }
  std::string describe() const { return policy.describe() + " per group"; }
};

/// Rank of each value among those of the same window (a two-hour bin, say), divided by their number: in (0, 1], the
/// largest 1; ties share the smallest rank. SEA's relevance of loudness. Throws shape_error for unequal lengths.
inline std::vector<double> relevance_ranks(std::span<const double> values, std::span<const std::int64_t> window) {
  require<shape_error>(values.size() == window.size(), "relevance_ranks: ", values.size(), " values but ", window.size(), " windows");
  std::map<std::int64_t, std::vector<double>> sorted;
  for (std::size_t i = 0; i < values.size(); ++i) {
    require<value_error>(std::isfinite(values[i]), "relevance_ranks: value ", i, " is not finite");
    sorted[window[i]].push_back(values[i]);
  }
  for (auto& [key, all] : sorted) std::sort(all.begin(), all.end());
  std::vector<double> out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto& all = sorted[window[i]];
    const auto below = std::lower_bound(all.begin(), all.end(), values[i]) - all.begin();
    out.push_back(static_cast<double>(below + 1) / static_cast<double>(all.size()));
  }
  return out;
}

}  // namespace sample

/// See retort/sample/sample.hpp.
template <class P>
concept SamplerPolicy = requires(const P& p, const sample::Pool& pool) {
  { p.select(pool, index_t{1}, Rng(0)) } -> std::same_as<std::vector<index_t>>;
};
#define RETORT_SAMPLER_MESSAGE                                                                                            \
  "retort: expected a sampler policy: `std::vector<index_t> select(const sample::Pool&, index_t k, Rng) const`; see "     \
  "retort/sample/sample.hpp"

}  // namespace retort
