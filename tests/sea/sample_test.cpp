#include <doctest/doctest.h>

#include <map>
#include <retort/sample/dpp.hpp>

#include "support.hpp"

using namespace retort;
using namespace retort::sample;

namespace {
const std::vector<double> relevance{0.25, 0.5, 0.75, 1.0};
/// Chi-squared of observed counts of `draws` against expected shares.
double chi_squared(const std::map<std::vector<index_t>, int>& counts, const std::map<std::vector<index_t>, double>& share, int draws) {
  double sum = 0;
  for (const auto& [subset, p] : share) {
    const auto it = counts.find(subset);
    const double gap = (it == counts.end() ? 0 : it->second) - p * draws;
    sum += gap * gap / (p * draws);
  }
  return sum;
}
}  // namespace

TEST_CASE("relevance: ranks of their window, ties share the smallest") {
  const std::vector<double> values{3, 1, 3, 2};
  const std::vector<std::int64_t> one{0, 0, 0, 0}, two{0, 1, 0, 1};
  CHECK(relevance_ranks(values, one) == std::vector<double>{.75, .25, .75, .5});
  CHECK(relevance_ranks(values, two) == std::vector<double>{.5, .5, .5, 1.});
  CHECK_THROWS_AS(relevance_ranks(values, std::vector<std::int64_t>{0}), shape_error);
}

TEST_CASE("weighted draws of one follow the relevance; all draws are without replacement and reproducible") {
  const Tensor<float, 2> z(Shape<2>{4, 1});
  const Pool pool{z.view(), relevance, {}};
  std::map<std::vector<index_t>, int> counts;
  const int draws = 20000;
  for (int i = 0; i < draws; ++i) ++counts[Weighted{}.select(pool, 1, Rng(7).fork(static_cast<std::uint64_t>(i)))];
  CHECK(chi_squared(counts, {{{0}, .1}, {{1}, .2}, {{2}, .3}, {{3}, .4}}, draws) < 16.27);  // p = 0.001 at 3 degrees of freedom
  for (index_t k = 0; k <= 4; ++k) {
    CHECK(Uniform{}.select(pool, k, Rng(1)).size() == static_cast<std::size_t>(k));
    CHECK(Uniform{}.select(pool, k, Rng(1)) == Uniform{}.select(pool, k, Rng(1)));
  }
  CHECK_THROWS_WITH_AS(Uniform{}.select(pool, 5, Rng(1)), "sample::Uniform: cannot choose 5 of 4 vectors", value_error);
  CHECK_THROWS_AS(Weighted{}.select(Pool{z.view(), {}, {}}, 1, Rng(1)), shape_error);
}

TEST_CASE("per group: the same number from each group that has as many") {
  const Tensor<float, 2> z(Shape<2>{9, 1});
  const std::vector<std::int64_t> group{1, 1, 1, 1, 2, 2, 2, 2, 3};
  const auto chosen = PerGroup<Uniform>{}.select(Pool{z.view(), {}, group}, 6, Rng(3));
  REQUIRE(chosen.size() == 4);  // two each, and group 3 is too small
  CHECK((chosen[1] < 4 && chosen[2] >= 4 && chosen[3] < 8));
  CHECK_THROWS_AS(PerGroup<Uniform>{}.select(Pool{z.view(), {}, {}}, 2, Rng(3)), shape_error);
}

TEST_CASE("k-DPP: subsets come with probability det(L_S) / e_k, with and without quality") {
  const auto z = test::randn<float>(Shape<2>{4, 3}, 5);
  for (const bool quality : {false, true}) {
    const Pool pool{z.view(), relevance, {}};
    const KDpp dpp{.kernel = {.norm = RowNorm::l2, .ridge = 0.05, .quality = quality}};
    const auto l = dpp.kernel.of(pool, "test");
    std::map<std::vector<index_t>, double> share;
    double total = 0;
    for (index_t i = 0; i < 4; ++i)
      for (index_t j = i + 1; j < 4; ++j) total += share[{i, j}] = l(i, i) * l(j, j) - l(i, j) * l(i, j);
    for (auto& [subset, p] : share) p /= total;
    std::map<std::vector<index_t>, int> counts;
    const int draws = 20000;
    for (int i = 0; i < draws; ++i) ++counts[dpp.select(pool, 2, Rng(11).fork(static_cast<std::uint64_t>(i)))];
    CHECK(chi_squared(counts, share, draws) < 20.52);  // p = 0.001 at 5 degrees of freedom
    // The greedy one starts with the largest diagonal entry and adds the best partner of it.
    const auto greedy = GreedyDpp{dpp.kernel}.select(pool, 2, Rng(0));
    Eigen::Index first = 0;
    l.diagonal().maxCoeff(&first);
    double best = 0;
    for (index_t i = 0; i < 4; ++i)
      if (i != first) best = std::max(best, l(i, i) * l(first, first) - l(i, first) * l(i, first));
    CHECK(l(greedy[0], greedy[0]) * l(greedy[1], greedy[1]) - l(greedy[0], greedy[1]) * l(greedy[0], greedy[1]) == doctest::Approx(best));
  }
}

TEST_CASE("k-DPP: more than there are, a rank too small, a vector of nothing") {
  auto z = test::randn<float>(Shape<2>{5, 2}, 5);
  const Pool pool{z.view(), {}, {}};
  CHECK_THROWS_WITH_AS(KDpp{}.select(pool, 6, Rng(1)), "sample::KDpp: cannot choose 6 of 5 vectors", value_error);
  CHECK_THROWS_WITH_AS((KDpp{.kernel = {.ridge = 0}}.select(pool, 3, Rng(1))), doctest::Contains("rank is below 3"), value_error);
  CHECK_THROWS_WITH_AS((GreedyDpp{.kernel = {.ridge = 0}}.select(pool, 3, Rng(1))), doctest::Contains("rank is below 3"), value_error);
  CHECK_THROWS_AS((KDpp{.kernel = {.quality = true}}.select(pool, 2, Rng(1))), shape_error);
  CHECK(KDpp{}.select(pool, 5, Rng(1)) == std::vector<index_t>{0, 1, 2, 3, 4});
  z.view()(1, 0) = z.view()(1, 1) = 0;
  CHECK_THROWS_WITH_AS(KDpp{}.select(pool, 2, Rng(1)), "sample::KDpp: vector 1 has norm 0 and cannot be scaled", value_error);
}
