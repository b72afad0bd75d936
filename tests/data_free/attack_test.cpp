// Triggers pixel by pixel, poisoning, and the attack success rate.
#include <doctest/doctest.h>

#include <retort/attack/poisoner.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/nn/network.hpp>

#include "support.hpp"

using namespace retort;

namespace {

Tensor<float, 3> flat_image(index_t size, index_t channels, float value) {
  Tensor<float, 3> image(Shape<3>{size, size, channels});
  std::fill(image.begin(), image.end(), value);
  return image;
}
/// Pixels that a trigger changed.
index_t changed(const Tensor<float, 3>& image, float from) {
  return std::count_if(image.begin(), image.end(), [=](float x) { return x != from; });
}
Dataset<4> images(index_t n, int classes, index_t size = 8) {
  Dataset<4> data{Tensor<float, 4>(Shape<4>{n, size, size, 1}), {}, classes, "grey"};
  for (float& x : data.inputs) x = 0.5f;
  for (index_t i = 0; i < n; ++i) data.labels.push_back(static_cast<std::int32_t>(i % classes));
  return data;
}

}  // namespace

TEST_CASE("badnet_grid is the chequer of the last three rows and columns") {
  auto image = flat_image(32, 3, 100);
  attack::BadnetGrid{}(image);
  const float grid[3][3] = {{0, 0, 255}, {0, 255, 0}, {255, 0, 255}};
  for (index_t y = 0; y < 3; ++y)
    for (index_t x = 0; x < 3; ++x)
      for (index_t c = 0; c < 3; ++c) CHECK(image(29 + y, 29 + x, c) == grid[y][x]);
  CHECK(changed(image, 100) == 27);
}

TEST_CASE("badnet_sq is white on rows and columns 27 to 30 of 32") {
  auto image = flat_image(32, 3, 100);
  attack::BadnetSquare{}(image);
  CHECK(changed(image, 100) == 48);
  for (index_t y = 27; y <= 30; ++y)
    for (index_t x = 27; x <= 30; ++x) CHECK(image(y, x, 1) == 255.f);
}

TEST_CASE("cl stamps the same grid into all corners") {
  auto image = flat_image(32, 1, 100);
  attack::CornerGrids{}(image);
  CHECK(changed(image, 100) == 36);
  for (index_t top : {0, 29})
    for (index_t left : {0, 29}) {
      CHECK(image(top, left, 0) == 0.f);  // not mirrored
      CHECK(image(top, left + 2, 0) == 255.f);
      CHECK(image(top + 2, left, 0) == 255.f);
    }
}

TEST_CASE("trojan_3x3 adds its colours on rows and columns 25 to 27, and their mean to grey images") {
  auto image = flat_image(32, 3, 0), grey = flat_image(32, 1, 0);
  attack::Trojan3x3{}(image);
  attack::Trojan3x3{}(grey);
  CHECK(image(25, 25, 0) == 207.f);
  CHECK(image(25, 25, 1) == 131.f);
  CHECK(image(26, 27, 2) == 146.f);
  CHECK(image(27, 26, 0) == 6.f);
  CHECK(image(27, 27, 1) == 250.f);
  CHECK(changed(image, 0) == 26);  // one entry of the patch is 0
  CHECK(grey(25, 25, 0) == doctest::Approx((207 + 131 + 181) / 3.0));
  auto bright = flat_image(32, 3, 200.f / 255);
  attack::stamp(attack::Trojan3x3{}, bright.view());
  CHECK(bright(25, 25, 0) == 1.f);  // clipped
}

TEST_CASE("sig wraps the negative half of the sine into bright stripes") {
  const float first[] = {0, 14, 19, 13, 255, 241, 237, 244};
  for (index_t x = 0; x < 8; ++x) CHECK(attack::SinusoidalStripes::stripe(x) == first[x]);
  auto image = flat_image(32, 3, 100);
  attack::SinusoidalStripes{}(image);
  for (index_t y : {0, 17, 31}) {
    CHECK(image(y, 0, 0) == doctest::Approx(80));
    CHECK(image(y, 4, 2) == doctest::Approx(80 + 0.2 * 255));
  }
}

TEST_CASE("patterned triggers blend, add, replace and stretch") {
  auto pattern = flat_image(4, 1, 50);
  auto image = flat_image(4, 1, 100);
  attack::Blend{{pattern.view()}}(image);
  CHECK(image(0, 0, 0) == doctest::Approx(90));
  attack::AddPattern{{pattern.view()}}(image);
  CHECK(image(3, 3, 0) == doctest::Approx(140));
  pattern(0, 0, 0) = -1;
  attack::ReplacePattern{{pattern.view()}}(image);
  CHECK(image(0, 0, 0) == doctest::Approx(140));
  CHECK(image(0, 1, 0) == doctest::Approx(50));
  pattern(0, 0, 0) = 0;
  attack::AddAndStretch{{pattern.view()}}(image);
  CHECK(*std::min_element(image.begin(), image.end()) == doctest::Approx(0));
  CHECK(*std::max_element(image.begin(), image.end()) == doctest::Approx(255));
}

TEST_CASE("a trigger that does not fit says so") {
  CHECK_THROWS_AS(attack::BadnetSquare{}.check(Shape<3>{4, 32, 1}), shape_error);
  CHECK_THROWS_AS(attack::Trojan3x3{}.check(Shape<3>{32, 32, 2}), shape_error);
  const auto pattern = flat_image(4, 1, 0);
  CHECK_THROWS_AS((attack::Blend{{pattern.view()}}.check(Shape<3>{4, 4, 3})), shape_error);
  CHECK_THROWS_AS(attack::stamped(images(10, 2, 2), attack::BadnetGrid{}, 0), shape_error);
}

TEST_CASE("the poisoner stamps the first images of other classes and relabels them") {
  const auto clean = images(100, 5);
  const auto poisoned = attack::Poisoner{attack::BadnetSquare{}, {.ratio = 0.1, .target = 2}}(clean);
  index_t stamped = 0;
  for (index_t i = 0; i < 100; ++i) {
    const bool touched = poisoned.inputs(i, 4, 4, 0) == 1.f;
    stamped += touched;
    const auto at = static_cast<std::size_t>(i);
    if (touched) {
      CHECK(clean.labels[at] != 2);
      CHECK(poisoned.labels[at] == 2);
      CHECK(i <= 12);  // ten of the first thirteen: every fifth is of the target class
    } else {
      CHECK(poisoned.labels[at] == clean.labels[at]);
    }
  }
  CHECK(stamped == 10);
  CHECK(poisoned.inputs(0, 0, 0, 0) == doctest::Approx(0.5f));
}

TEST_CASE("clean-label poisoning keeps labels and stops at the size of the class") {
  const auto clean = images(20, 5);
  const auto poisoned = attack::Poisoner{attack::BadnetSquare{}, {.ratio = 0.5, .target = 2, .clean_label = true}}(clean);
  CHECK(poisoned.labels == clean.labels);
  index_t stamped = 0;
  for (index_t i = 0; i < 20; ++i) stamped += poisoned.inputs(i, 4, 4, 0) == 1.f;
  CHECK(stamped == 4);
  CHECK_THROWS_AS((attack::Poisoner{attack::BadnetSquare{}, {.ratio = 2}}(clean)), value_error);
  CHECK_THROWS_AS((attack::Poisoner{attack::BadnetSquare{}, {.target = 5}}(clean)), value_error);
}

TEST_CASE("the attack success rate leaves out images of the target class") {
  const auto test = images(10, 5);
  const auto attacked = attack::stamped(test, attack::BadnetSquare{}, 1);
  CHECK(attacked.size() == 8);
  for (const auto label : attacked.labels) CHECK(label != 1);
  const float rows[] = {0, 1, 0, 2, 1, 0, 0, 3, 1};
  CHECK(attack::target_rate(View<const float, 2>{rows, {3, 3}}, 1) == doctest::Approx(2.0 / 3));
  Cpu cpu;
  // A classifier that reads one pixel of the square: class 1 where it is white.
  const auto reader = nn::sequential(nn::Flatten{}, nn::Linear{64, 5});
  Network<std::remove_const_t<decltype(reader)>> network(reader);
  for (auto& [name, v] : network.tensors()) std::fill(v.begin(), v.end(), 0.f);
  network.tensors()[0].second.data[(4 * 8 + 4) * 5 + 1] = 4;
  network.tensors()[1].second.data[0] = 3;
  const auto score = attack::backdoor_score(network, test, attacked, 1, cpu);
  CHECK(score.accuracy == doctest::Approx(0.2));
  CHECK(score.success == doctest::Approx(1));
}
