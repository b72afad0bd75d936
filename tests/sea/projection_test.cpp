#include <doctest/doctest.h>

#include <retort/projection/pca.hpp>

#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::projection;

namespace {
/// Correlated vectors with a mean.
Tensor<double, 2> vectors(index_t n, index_t width, std::uint64_t seed) {
  auto x = test::randn(Shape{n, width}, seed);
  const auto mix = test::randn(Shape{width, width}, seed + 1);
  Tensor<double, 2> out(Shape{n, width});
  for (index_t r = 0; r < n; ++r)
    for (index_t i = 0; i < width; ++i) {
      double sum = 3 + static_cast<double>(i);
      for (index_t j = 0; j < width; ++j) sum += x.view()(r, j) * mix.view()(j, i) * (1 + static_cast<double>(j));
      out.view()(r, i) = sum;
    }
  return out;
}
View<const double, 2> in(const Tensor<double, 2>& t) { return t.view(); }
}  // namespace

TEST_CASE("moments: pieces and merged halves give the mean and population covariance of a direct sum") {
  const auto z = vectors(700, 5, 3);
  Moments all(5), first(5), second(5);
  all.add(in(z));
  first.add(in(z).rows(0, 123));
  second.add(in(z).rows(123, 700));
  first.merge(second).merge(Moments(5));
  CHECK(all.count() == 700);
  CHECK(first.count() == 700);
  for (index_t i = 0; i < 5; ++i)
    for (index_t j = 0; j < 5; ++j) {
      double mi = 0, mj = 0, c = 0;
      for (index_t r = 0; r < 700; ++r) mi += z.view()(r, i) / 700, mj += z.view()(r, j) / 700;
      for (index_t r = 0; r < 700; ++r) c += (z.view()(r, i) - mi) * (z.view()(r, j) - mj) / 700;
      CHECK(all.mean()(i) == doctest::Approx(mi).epsilon(1e-12));
      CHECK(all.covariance(i, j) == doctest::Approx(c).epsilon(1e-10));
      CHECK(first.covariance(i, j) == doctest::Approx(c).epsilon(1e-10));
    }
}

TEST_CASE("PCA of points on a line in space: one component holds all, its sign is fixed, nothing is whitened") {
  Tensor<double, 2> z(Shape<2>{4, 3});
  const double along[]{-3, -1, 1, 3};
  for (index_t r = 0; r < 4; ++r) {
    z.view()(r, 0) = 5 - 2 * along[r];
    z.view()(r, 1) = 1 * along[r];
    z.view()(r, 2) = 7 - 2 * along[r];
  }
  const auto m = moments_of(in(z));
  const Affine phi = Pca{1}.fit(m);
  CHECK(phi.matrix()(0, 0) == doctest::Approx(2. / 3));  // (2, -1, 2) / 3: the largest entry is positive
  CHECK(phi.matrix()(1, 0) == doctest::Approx(-1. / 3));
  const auto y = phi.transform(in(z));
  for (index_t r = 0; r < 4; ++r) CHECK(y.view()(r, 0) == doctest::Approx(-3 * along[r]));
  const auto spectrum = Pca::spectrum(m);
  CHECK(spectrum[0] == doctest::Approx(45));
  CHECK(std::abs(spectrum[1]) < 1e-12);
}

TEST_CASE("standardised PCA: the mean squared error of reconstruction is the sum of the eigenvalues left out") {
  const auto z = vectors(300, 6, 11);
  const auto m = moments_of(in(z));
  const Affine scale = Standardize{}.fit(m);
  const auto standardised = scale.transform(in(z));
  const Moments ms = moments_of(in(standardised));
  for (index_t i = 0; i < 6; ++i) {
    CHECK(std::abs(ms.mean()(i)) < 1e-12);
    CHECK(ms.covariance(i, i) == doctest::Approx(1));
  }
  const auto spectrum = Pca::spectrum(ms);
  for (index_t d = 1; d <= 6; ++d) {
    const Affine pca = Pca{d}.fit(ms), both = standardized_pca(d).fit(m);
    const auto y = both.transform(in(z));
    double error = 0, left = 0;
    for (index_t r = 0; r < 300; ++r)
      for (index_t i = 0; i < 6; ++i) {
        double back = 0;
        for (index_t k = 0; k < d; ++k) back += y.view()(r, k) * pca.matrix()(i, k);
        error += (standardised.view()(r, i) - back) * (standardised.view()(r, i) - back) / 300;
      }
    for (auto k = static_cast<std::size_t>(d); k < 6; ++k) left += spectrum[k];
    CHECK(error == doctest::Approx(left).epsilon(1e-9));
  }
}

TEST_CASE("projections: identity, global scale, random directions, and a dimension that never changes") {
  auto z = vectors(200, 4, 5);
  for (index_t r = 0; r < 200; ++r) z.view()(r, 2) = 42;
  const auto m = moments_of(in(z));
  const auto same = Identity{}.fit(m).transform(in(z));
  CHECK(std::equal(same.begin(), same.end(), z.begin()));
  const auto plain = Standardize{}.fit(m).transform(in(z));
  for (index_t r = 0; r < 200; ++r) CHECK(plain.view()(r, 2) == 0.0);  // sigma = 0 counts as 1
  const auto global = StandardizeGlobally{}.fit(m).transform(in(z));
  const auto gm = moments_of(in(global));
  double variance = 0;
  for (index_t i = 0; i < 4; ++i) variance += gm.covariance(i, i) / 4;
  CHECK(variance == doctest::Approx(1));
  CHECK(gm.deviation(0) / gm.deviation(1) == doctest::Approx(m.deviation(0) / m.deviation(1)));
  const Affine random = Random{3, 9}.fit(m);
  CHECK(random.out_dim() == 3);
  const auto rm = moments_of(in(random.transform(in(z))));
  for (index_t k = 0; k < 3; ++k) CHECK(std::abs(rm.mean()(k)) < 1e-10);
  CHECK(standardized_pca(4).fit(m).out_dim() == 4);  // a constant dimension is no obstacle
}

TEST_CASE("a projection from disk gives the same bits; other widths, torn files and bad requests are told apart") {
  const test::ScratchFolder folder;
  const auto z = vectors(100, 7, 2);
  const Affine phi = standardized_pca(3).fit(moments_of(in(z)));
  const std::string path = folder.file("phi.retort");
  phi.save(path);
  const Affine back = Affine::load(path, 7, 3);
  const auto a = phi.transform(in(z)), b = back.transform(in(z));
  CHECK(std::equal(a.begin(), a.end(), b.begin()));
  CHECK_THROWS_WITH_AS(Affine::load(path, 7, 4), doctest::Contains("'projection.matrix' has 21 values, this run needs 28"), checkpoint_error);
  const Tensor<double, 2> wide(Shape<2>{2, 8});
  CHECK_THROWS_WITH_AS(back.transform(in(wide)), "projection: fitted to vectors of 7 entries, got (2, 8)", shape_error);
  CHECK_THROWS_WITH_AS(Pca{8}.fit(moments_of(in(z))), "projection::Pca: expected 1 to 7 components, got 8", value_error);
  CHECK_THROWS_WITH_AS(Pca{1}.fit(Moments(7)), "projection::Pca: expected at least 2 vectors to fit to, got 0", value_error);
  CHECK_THROWS_AS(Moments(7).add(in(wide)), shape_error);
  auto torn = vectors(3, 2, 1);
  torn.view()(2, 1) = std::nan("");
  CHECK_THROWS_WITH_AS(Moments(2).add(in(torn)), "Moments: row 2, entry 1 is not finite", value_error);
}
