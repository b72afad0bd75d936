#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <retort/train/metrics.hpp>

#include "support.hpp"

using namespace retort;
using doctest::Approx;

namespace {

/// Logits whose softmax is `p`, with a different shift in each row.
template <class T>
Tensor<T, 2> logits_of(std::vector<std::vector<double>> p) {
  Tensor<T, 2> out({static_cast<index_t>(p.size()), static_cast<index_t>(p[0].size())});
  for (std::size_t i = 0; i < p.size(); ++i)
    for (std::size_t c = 0; c < p[i].size(); ++c)
      out(i, c) = static_cast<T>(std::log(p[i][c]) + 10.0 * static_cast<double>(i));
  return out;
}

metrics::Labels view(const std::vector<std::int32_t>& labels) {
  return {labels.data(), {static_cast<index_t>(labels.size())}};
}

}  // namespace

TEST_CASE_TEMPLATE("metrics by hand", T, float, double) {
  const double close = test::tolerance<T>::value;
  const auto z = logits_of<T>({{.70, .20, .10}, {.55, .15, .30}, {.10, .65, .25}, {.30, .45, .25}});
  const std::vector<std::int32_t> labels{0, 1, 1, 0};  // hit, third, hit, second

  CHECK(metrics::accuracy(z, view(labels)) == 0.5);
  CHECK(metrics::top_k_accuracy(z, view(labels), 2) == 0.75);
  CHECK(metrics::top_k_accuracy(z.view(), view(labels), 3) == 1);
  CHECK(metrics::negative_log_likelihood(z, view(labels)) ==
        Approx(-(std::log(.70) + std::log(.15) + std::log(.65) + std::log(.30)) / 4).epsilon(close));
  // One bin: 2 hits against a confidence of 2.35. Four bins: (0.5, 0.75] has 2 hits against 1.9, (0.25, 0.5] 0 against 0.45.
  CHECK(metrics::expected_calibration_error(z, view(labels), 1) == Approx(0.35 / 4).epsilon(10 * close));
  CHECK(metrics::expected_calibration_error(z, view(labels), 4) == Approx((0.1 + 0.45) / 4).epsilon(10 * close));
  CHECK(metrics::expected_calibration_error(z, view(labels)) ==
        metrics::expected_calibration_error(z, view(labels), 15));

  const auto by_class = metrics::per_class_accuracy(z, view(labels));
  REQUIRE(by_class.size() == 3);
  CHECK(by_class[0].accuracy() == 0.5);
  CHECK(by_class[1].correct == 1);
  CHECK(by_class[1].total == 2);
  CHECK(by_class[2].total == 0);
  CHECK(by_class[2].accuracy() == 0);
}

TEST_CASE("equal logits: the lower class comes first, everywhere alike") {
  const Tensor<float, 2> z({1, 4});
  CHECK(metrics::accuracy(z, view({0})) == 1);
  CHECK(metrics::accuracy(z, view({1})) == 0);
  CHECK(metrics::top_k_accuracy(z, view({1}), 2) == 1);
  CHECK(metrics::top_k_accuracy(z, view({3}), 3) == 0);
  CHECK(metrics::per_class_accuracy(z, view({0}))[0].correct == 1);
  CHECK(metrics::negative_log_likelihood(z, view({2})) == Approx(std::log(4.0)));
}

TEST_CASE_TEMPLATE("fidelity of a student to its teacher", T, float, double) {
  const double close = test::tolerance<T>::value;
  const auto teacher = logits_of<T>({{.8, .2}, {.3, .7}});
  const auto student = logits_of<T>({{.5, .5}, {.3, .7}});
  CHECK(metrics::agreement(teacher, student) == 1);  // an even row names the first class
  CHECK(metrics::agreement(teacher, logits_of<T>({{.4, .6}, {.3, .7}})) == 0.5);
  CHECK(metrics::fidelity_kl(teacher, student) ==
        Approx((.8 * std::log(1.6) + .2 * std::log(.4)) / 2).epsilon(10 * close));
  // The square root of (.8, .2) is (2, 1) to scale.
  CHECK(metrics::fidelity_kl(teacher, student, 2) ==
        Approx((2. / 3 * std::log(4. / 3) + 1. / 3 * std::log(2. / 3)) / 2).epsilon(10 * close));
  CHECK(metrics::fidelity_kl(student, teacher) ==
        Approx((.5 * std::log(.5 / .8) + .5 * std::log(.5 / .2)) / 2).epsilon(10 * close));
  CHECK(metrics::fidelity_kl(teacher, teacher, 4) < close);
}

TEST_CASE("logits far apart neither overflow nor lose the small probability") {
  Tensor<float, 2> z({2, 2});
  z(0, 0) = 1000;
  z(1, 1) = -1000;
  CHECK(metrics::negative_log_likelihood(z, view({1, 1})) == 1000);
  CHECK(metrics::expected_calibration_error(z, view({0, 0})) == 0);
  Tensor<float, 2> even({2, 2});
  CHECK(metrics::fidelity_kl(z, even) == Approx(std::log(2.0)));
  CHECK(metrics::fidelity_kl(even, z) == Approx(500 - std::log(2.0)));
}

TEST_CASE("metrics refuse what they cannot judge") {
  const auto z = test::randn<float>(Shape{2, 3}, 1);
  const auto other = test::randn<float>(Shape{2, 4}, 1);
  const std::vector<std::int32_t> classes{0, 2};
  const auto labels = view(classes);
  CHECK_THROWS_AS(metrics::accuracy(z, view({0, 1, 2})), shape_error);
  CHECK_THROWS_AS(metrics::accuracy(z, view({0, 3})), value_error);
  CHECK_THROWS_AS(metrics::negative_log_likelihood(z, view({-1, 0})), value_error);
  CHECK_THROWS_AS(metrics::per_class_accuracy(Tensor<float, 2>{}, view({})), value_error);
  CHECK_THROWS_AS(metrics::top_k_accuracy(z, labels, 0), value_error);
  CHECK_THROWS_AS(metrics::top_k_accuracy(z, labels, 4), value_error);
  CHECK_THROWS_AS(metrics::expected_calibration_error(z, labels, 0), value_error);
  CHECK_THROWS_AS(metrics::agreement(z, other), shape_error);
  CHECK_THROWS_AS(metrics::fidelity_kl(z, other), shape_error);
  CHECK_THROWS_AS(metrics::fidelity_kl(z, z, 0), value_error);
  auto sick = z.clone();
  sick(1, 2) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH_AS(metrics::accuracy(sick, labels), "top_k_accuracy: the logit of row 1, class 2 is not finite", value_error);
  CHECK_THROWS_AS(metrics::fidelity_kl(z, sick), value_error);
}
