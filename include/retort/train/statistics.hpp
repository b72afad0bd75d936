#pragma once
// Is the distilled student better, or lucky? Means and deviations over seeds, and paired tests of two recipes that were
// run with the same seeds.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <retort/core/error.hpp>
#include <retort/core/finite.hpp>
#include <span>
#include <vector>

namespace retort::statistics {

/// Throws value_error for an empty range.
inline double mean(std::span<const double> values) {
  require<value_error>(!values.empty(), "mean: no values");
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Sample standard deviation (divisor n - 1). Throws value_error for fewer than two values.
inline double standard_deviation(std::span<const double> values) {
  require<value_error>(values.size() >= 2, "standard_deviation: expected at least 2 values, got ", values.size());
  const double centre = mean(values);
  double squares = 0;
  for (const double x : values) squares += (x - centre) * (x - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

/// Regularised incomplete beta function I_x(a, b) for a, b > 0 and x in [0, 1], by the continued fraction
/// DLMF 8.17.22 (https://dlmf.nist.gov/8.17.E22), evaluated with the modified Lentz method; relative error about 1e-14.
inline double incomplete_beta(double a, double b, double x) {
  require<value_error>(a > 0 && b > 0 && x >= 0 && x <= 1, "incomplete_beta: expected a, b > 0 and x in [0, 1], got ", a,
                       ", ", b, ", ", x);
  if (x == 0 || x == 1) return x;
  // The fraction converges quickly only below the mean of the distribution; above it use I_x(a, b) = 1 - I_{1-x}(b, a).
  if (x > (a + 1) / (a + b + 2)) return 1 - incomplete_beta(b, a, 1 - x);
  constexpr double tiny = 1e-300;
  const auto nonzero = [](double v) { return std::abs(v) < tiny ? tiny : v; };
  double c = 1, d = 1 / nonzero(1 - (a + b) * x / (a + 1)), fraction = d;
  for (int m = 1; m <= 1000; ++m) {
    const double k = m;
    const double even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k));
    d = 1 / nonzero(1 + even * d);
    c = nonzero(1 + even / c);
    fraction *= c * d;
    const double odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1));
    d = 1 / nonzero(1 + odd * d);
    c = nonzero(1 + odd / c);
    fraction *= c * d;
    if (std::abs(c * d - 1) < 1e-15) break;
  }
  const double log_factor = std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x);
  return std::exp(log_factor) * fraction / a;
}

/// Outcome of a test of paired samples a_i, b_i: probabilities of a result at least as extreme if there were no difference.
struct PairedTest {
  double statistic = 0;    ///< what the test computes from the differences a_i - b_i
  double p_two_sided = 1;  ///< against "a and b differ"
  double p_greater = 1;    ///< against "a is greater than b"
};

namespace detail {

inline std::vector<double> differences(std::span<const double> a, std::span<const double> b, const char* test) {
  require<shape_error>(a.size() == b.size(), test, ": expected pairs, got ", a.size(), " and ", b.size(), " values");
  std::vector<double> out(a.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = a[i] - b[i];
    require<value_error>(is_finite(out[i]), test, ": pair ", i, " is not finite");
  }
  return out;
}

}  // namespace detail

/// Student's paired t test with n - 1 degrees of freedom v: t = mean(d) / (s_d / sqrt(n)), and
/// P(|T| >= |t|) = I_{v/(v+t^2)}(v/2, 1/2) (Abramowitz & Stegun 26.7.1 and 26.5.27). Differences that are all equal and not
/// zero give t = +-max() and p = 0. Throws value_error for fewer than two pairs, shape_error for unequal counts.
inline PairedTest paired_t_test(std::span<const double> a, std::span<const double> b) {
  const std::vector<double> d = detail::differences(a, b, "paired_t_test");
  require<value_error>(d.size() >= 2, "paired_t_test: expected at least 2 pairs, got ", d.size());
  const double centre = mean(d), error = standard_deviation(d) / std::sqrt(static_cast<double>(d.size()));
  if (centre == 0) return {.statistic = 0, .p_two_sided = 1, .p_greater = 0.5};
  const bool flat = error <= std::abs(centre) * std::numeric_limits<double>::epsilon();  // equal but for rounding
  const double t = flat ? std::copysign(std::numeric_limits<double>::max(), centre) : centre / error;
  const auto freedom = static_cast<double>(d.size() - 1);
  const double both = flat ? 0 : incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t));
  return {.statistic = t, .p_two_sided = both, .p_greater = t > 0 ? both / 2 : 1 - both / 2};
}

/// Exact sign test: of the n differences that are not zero, k are positive; k is binomial(n, 1/2) if there is no
/// difference. Throws value_error for no pairs, shape_error for unequal counts.
inline PairedTest sign_test(std::span<const double> a, std::span<const double> b) {
  const std::vector<double> d = detail::differences(a, b, "sign_test");
  require<value_error>(!d.empty(), "sign_test: no pairs");
  const auto positive = std::count_if(d.begin(), d.end(), [](double x) { return x > 0; });
  const auto n = d.size() - static_cast<std::size_t>(std::count(d.begin(), d.end(), 0.0));
  // P(K >= k) of the binomial is I_{1/2}(k, n - k + 1), DLMF 8.17.5.
  const auto at_least = [n](std::ptrdiff_t k) {
    return k <= 0 ? 1.0 : incomplete_beta(static_cast<double>(k), static_cast<double>(static_cast<std::ptrdiff_t>(n) - k + 1), 0.5);
  };
  const double greater = at_least(positive), less = at_least(static_cast<std::ptrdiff_t>(n) - positive);
  return {.statistic = static_cast<double>(positive), .p_two_sided = std::min(1.0, 2 * std::min(greater, less)), .p_greater = greater};
}

/// Wilcoxon's signed-rank test (Biometrics Bulletin 1945), exact: zero differences are dropped, equal magnitudes share
/// their mean rank, and the distribution of the sum of positive ranks comes from counting all 2^n signs. `statistic` is
/// that sum. Throws value_error for no pairs or more than 60 that differ, shape_error for unequal counts.
inline PairedTest wilcoxon_test(std::span<const double> a, std::span<const double> b) {
  std::vector<double> d = detail::differences(a, b, "wilcoxon_test");
  require<value_error>(!d.empty(), "wilcoxon_test: no pairs");
  std::erase(d, 0.0);
  require<value_error>(d.size() <= 60, "wilcoxon_test: exact for at most 60 differing pairs, got ", d.size());
  std::sort(d.begin(), d.end(), [](double x, double y) { return std::abs(x) < std::abs(y); });
  // Ranks count double, so that mean ranks are whole numbers: positions first..last (from 1) share first + last.
  std::vector<std::size_t> rank(d.size());
  for (std::size_t first = 0; first < d.size();) {
    std::size_t last = first;
    while (last + 1 < d.size() && std::abs(d[last + 1]) == std::abs(d[first])) ++last;
    for (std::size_t i = first; i <= last; ++i) rank[i] = first + last + 2;
    first = last + 1;
  }
  // ways[s]: share of the 2^n sign patterns whose positive ranks add up to s.
  std::vector<double> ways(std::accumulate(rank.begin(), rank.end(), std::size_t{1}));
  ways[0] = 1;
  std::size_t reach = 0, observed = 0;
  for (std::size_t i = 0; i < d.size(); ++i) {
    reach += rank[i];
    if (d[i] > 0) observed += rank[i];
    for (std::size_t s = reach + 1; s-- > 0;) ways[s] = 0.5 * ways[s] + (s >= rank[i] ? 0.5 * ways[s - rank[i]] : 0);
  }
  const auto at = ways.begin() + static_cast<std::ptrdiff_t>(observed);
  const double greater = std::accumulate(at, ways.end(), 0.0), less = std::accumulate(ways.begin(), at + 1, 0.0);
  return {.statistic = static_cast<double>(observed) / 2, .p_two_sided = std::min(1.0, 2 * std::min(greater, less)), .p_greater = greater};
}

}  // namespace retort::statistics
