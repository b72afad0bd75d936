#pragma once
// Policies that fit a projection of a teacher's embeddings. A policy is an aggregate with
//   Affine fit(const Moments& of) const;      a pure function of the moments of the vectors to fit to
//   std::string describe() const;
// Fit once, then apply the same Affine to everything: never re-fit on other data. The PCA is in projection/pca.hpp.

#include <retort/core/rng.hpp>
#include <retort/projection/affine.hpp>
#include <tuple>

namespace retort {

/// See retort/projection/projection.hpp.
template <class P>
concept ProjectionPolicy = requires(const P& p, const projection::Moments& m) {
  { p.fit(m) } -> std::same_as<projection::Affine>;
};
#define RETORT_PROJECTION_MESSAGE                                                                                         \
  "retort: expected a projection policy: `projection::Affine fit(const projection::Moments&) const`; see "                \
  "retort/projection/projection.hpp"

namespace projection {

/// The embeddings as they are.
struct Identity {
  Affine fit(const Moments& of) const {
    Tensor<double, 2> w(Shape{of.width(), of.width()});
    for (index_t i = 0; i < of.width(); ++i) w.view()(i, i) = 1;
    return {std::move(w), Tensor<double, 1>(Shape{of.width()})};
  }
  std::string describe() const { return "identity"; }
};

/// (z - mean) / deviation by entry; an entry that never changes is only shifted (deviation 1).
struct Standardize {
  Affine fit(const Moments& of) const {
    Tensor<double, 2> w(Shape{of.width(), of.width()});
    for (index_t i = 0; i < of.width(); ++i) {
      const double deviation = of.deviation(i);
      w.view()(i, i) = deviation > 1e-12 * std::abs(of.mean()(i)) && deviation > 0 ? 1 / deviation : 1;
    }
    return Affine::centred(of, std::move(w));
  }
  std::string describe() const { return "standardised"; }
};

/// One factor for all entries: (z - mean) / root mean square of the entries' deviations. Keeps what is large large, which
/// `Standardize` does not: a probe behind an unwhitened PCA should see this one.
struct StandardizeGlobally {
  Affine fit(const Moments& of) const {
    double variance = 0;
    for (index_t i = 0; i < of.width(); ++i) variance += of.covariance(i, i) / static_cast<double>(of.width());
    const double factor = variance > 0 ? 1 / std::sqrt(variance) : 1;
    Tensor<double, 2> w(Shape{of.width(), of.width()});
    for (index_t i = 0; i < of.width(); ++i) w.view()(i, i) = factor;
    return Affine::centred(of, std::move(w));
  }
  std::string describe() const { return "standardised globally"; }
};

/// Normal random directions of expected length 1 (Johnson & Lindenstrauss), of the centred vectors: the control of a PCA.
struct Random {
  index_t components = 64;
  std::uint64_t seed = 0;

  Affine fit(const Moments& of) const {
    require<value_error>(components >= 1, "projection::Random: expected at least 1 component, got ", components);
    Tensor<double, 2> w(Shape{of.width(), components});
    Rng rng(seed);
    for (double& x : w) x = rng.normal() / std::sqrt(static_cast<double>(of.width()));
    return Affine::centred(of, std::move(w));
  }
  std::string describe() const { return detail::concat("random projection to ", components); }
};

/// Policies one after the other, each fitted to what the ones before it give: `Chain<Standardize, Pca>`.
template <class... Policies>
struct Chain {
  static_assert((ProjectionPolicy<Policies> && ...), RETORT_PROJECTION_MESSAGE);
  std::tuple<Policies...> policies;

  Chain() = default;
  explicit Chain(Policies... p) : policies(std::move(p)...) {}

  Affine fit(const Moments& of) const {
    Affine all;
    std::apply([&](const auto&... p) { ((all = all.empty() ? p.fit(of) : all.then(p.fit(of.mapped(all.matrix(), all.shift())))), ...); }, policies);
    return all;
  }
  std::string describe() const {
    std::string out;
    std::apply([&](const auto&... p) { ((out += (out.empty() ? "" : ", ") + p.describe()), ...); }, policies);
    return out;
  }
};

}  // namespace projection
}  // namespace retort
