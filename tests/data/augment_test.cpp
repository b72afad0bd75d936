#include <doctest/doctest.h>

#include <retort/data/augment.hpp>
#include <retort/data/order.hpp>
#include <set>

#include "support.hpp"

using namespace retort;
using data::augment;
using data::epoch_order;
using data::HorizontalFlip;
using data::Normalize;
using data::Pipeline;
using data::RandomCrop;

namespace {

std::vector<float> values(View<const float, 4> batch) { return {batch.begin(), batch.end()}; }

/// A batch after augmentation, as numbers.
template <class A>
std::vector<float> augmented(const A& policy, const Tensor<float, 4>& batch, std::span<const index_t> samples,
                             std::uint64_t seed, std::uint64_t epoch) {
  auto copy = batch.clone();
  augment(policy, copy.view(), samples, seed, epoch);
  return values(copy.view());
}

const std::vector<index_t> four{0, 1, 2, 3};

}  // namespace

TEST_CASE("the order of an epoch is a permutation and a pure function of seed and epoch") {
  std::vector<index_t> a(1000), b(1000), c(1000), d(1000);
  epoch_order(a, 3, 0);
  epoch_order(b, 3, 0);
  epoch_order(c, 3, 1);
  epoch_order(d, 4, 0);
  CHECK(a == b);
  CHECK(a != c);
  CHECK(a != d);
  CHECK(std::set<index_t>(a.begin(), a.end()).size() == 1000);
  CHECK(*std::max_element(a.begin(), a.end()) == 999);
}

TEST_CASE("random crop is the crop of a zero-padded image, at every offset, with equal frequency") {
  const auto image = test::randn<float>(Shape{1, 5, 6, 2}, 11);
  const int padding = 2;
  // Every image the policy may give, built the slow way.
  std::vector<std::vector<float>> allowed;
  for (int dy = -padding; dy <= padding; ++dy)
    for (int dx = -padding; dx <= padding; ++dx) {
      Tensor<float, 4> shifted({1, 5, 6, 2});
      for (int y = 0; y < 5; ++y)
        for (int x = 0; x < 6; ++x)
          for (int c = 0; c < 2; ++c)
            if (y + dy >= 0 && y + dy < 5 && x + dx >= 0 && x + dx < 6) shifted(0, y, x, c) = image(0, y + dy, x + dx, c);
      allowed.push_back(values(shifted.view()));
    }
  std::vector<int> hits(allowed.size());
  const int draws = 5000;
  for (index_t sample = 0; sample < draws; ++sample) {
    const std::vector<index_t> name{sample};
    const auto got = augmented(RandomCrop{padding}, image, name, 1, 0);
    const auto at = std::find(allowed.begin(), allowed.end(), got);
    REQUIRE(at != allowed.end());
    ++hits[static_cast<std::size_t>(at - allowed.begin())];
  }
  // 200 expected each, standard deviation 14: five of them.
  for (int h : hits) CHECK(std::abs(h - draws / 25) < 70);
}

TEST_CASE("horizontal flip mirrors columns, keeps channels, and obeys its probability") {
  const auto batch = test::randn<float>(Shape{4, 3, 5, 2}, 12);
  Tensor<float, 4> mirrored({4, 3, 5, 2});
  for (int n = 0; n < 4; ++n)
    for (int y = 0; y < 3; ++y)
      for (int x = 0; x < 5; ++x)
        for (int c = 0; c < 2; ++c) mirrored(n, y, 4 - x, c) = batch(n, y, x, c);
  CHECK(augmented(HorizontalFlip{0}, batch, four, 1, 0) == values(batch.view()));
  CHECK(augmented(HorizontalFlip{1}, batch, four, 1, 0) == values(mirrored.view()));
  int flipped = 0;
  Tensor<float, 4> one({1, 1, 2, 1});
  one(0, 0, 0, 0) = 1;
  for (index_t sample = 0; sample < 1000; ++sample)
    flipped += augmented(HorizontalFlip{0.25f}, one, std::vector<index_t>{sample}, 1, 0)[1] == 1;
  CHECK(std::abs(flipped - 250) < 70);
}

TEST_CASE("normalize works per channel") {
  Tensor<float, 4> batch({1, 1, 2, 2});
  for (int i = 0; i < 4; ++i) batch.data()[i] = static_cast<float>(i);
  const Normalize<2> policy{.mean = {1, 2}, .deviation = {2, 4}};
  const auto got = augmented(policy, batch, std::vector<index_t>{0}, 1, 0);
  const std::vector<double> wanted{-0.5, -0.25, 0.5, 0.25};
  for (std::size_t i = 0; i < 4; ++i) CHECK(got[i] == doctest::Approx(wanted[i]));
}

TEST_CASE("an image is a pure function of seed, epoch and sample, whatever batch it comes in") {
  const auto batch = test::randn<float>(Shape{4, 8, 8, 3}, 13);
  const Pipeline policy{RandomCrop{2}, HorizontalFlip{}, Normalize<3>{{0.5f, 0.4f, 0.3f}, {0.2f, 0.2f, 0.2f}}};
  const auto all = augmented(policy, batch, four, 9, 2);
  CHECK(all == augmented(policy, batch, four, 9, 2));
  CHECK(all != augmented(policy, batch, four, 9, 3));
  CHECK(all != augmented(policy, batch, four, 8, 2));

  Tensor<float, 4> reversed({4, 8, 8, 3});
  const index_t size = 8 * 8 * 3;
  for (index_t i = 0; i < 4; ++i)
    std::copy(batch.view().row(i), batch.view().row(i) + size, reversed.view().row(3 - i));
  const auto back = augmented(policy, reversed, std::vector<index_t>{3, 2, 1, 0}, 9, 2);
  for (index_t i = 0; i < 4; ++i) CHECK(std::equal(all.begin() + i * size, all.begin() + (i + 1) * size, back.begin() + (3 - i) * size));
}

TEST_CASE("unfit policies and images are refused before any image changes") {
  auto batch = test::randn<float>(Shape{4, 3, 5, 2}, 14);
  const auto before = values(batch.view());
  const auto apply = [&](const auto& policy) { augment(policy, batch.view(), four, 1, 0); };
  CHECK_THROWS_AS(apply(RandomCrop{-1}), value_error);
  CHECK_THROWS_AS(apply(RandomCrop{3}), value_error);
  CHECK_THROWS_AS(apply(HorizontalFlip{1.5f}), value_error);
  CHECK_THROWS_AS(apply(Normalize<3>{{0, 0, 0}, {1, 1, 1}}), shape_error);
  CHECK_THROWS_AS(apply(Normalize<2>{{0, 0}, {1, 0}}), value_error);
  CHECK_THROWS_AS((apply(Pipeline{HorizontalFlip{1}, Normalize<2>{{0, 0}, {1, -1}}})), value_error);
  CHECK_THROWS_AS(augment(HorizontalFlip{1}, batch.view(), std::vector<index_t>{1, 2}, 1, 0), shape_error);
  CHECK(values(batch.view()) == before);
}
