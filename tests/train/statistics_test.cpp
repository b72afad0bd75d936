#include <doctest/doctest.h>

#include <retort/core/rng.hpp>
#include <retort/train/statistics.hpp>

using namespace retort;
using namespace retort::statistics;
using doctest::Approx;
using Values = std::vector<double>;

namespace {
constexpr double exact = 1e-12;
}

TEST_CASE("mean and sample standard deviation") {
  const Values x{2, 4, 4, 4, 5, 5, 7, 9};
  CHECK(mean(x) == 5);
  CHECK(standard_deviation(x) == Approx(std::sqrt(32.0 / 7)).epsilon(exact));
  CHECK_THROWS_AS(mean(Values{}), value_error);
  CHECK_THROWS_AS(standard_deviation(Values{1}), value_error);
}

TEST_CASE("incomplete beta against closed forms") {
  for (double x : {0.0, 0.01, 0.3, 0.5, 0.77, 0.999, 1.0})
    for (double b : {0.5, 1.0, 3.0, 40.0}) {
      CHECK(incomplete_beta(1, b, x) == Approx(1 - std::pow(1 - x, b)).epsilon(exact));
      CHECK(incomplete_beta(b, 1, x) == Approx(std::pow(x, b)).epsilon(exact));
      CHECK(incomplete_beta(b, b, 0.5) == Approx(0.5).epsilon(exact));
    }
  // I_x(1/2, 1/2) is the arcsine distribution.
  CHECK(incomplete_beta(0.5, 0.5, 0.3) == Approx(2 / 3.14159265358979323846 * std::asin(std::sqrt(0.3))).epsilon(exact));
  CHECK_THROWS_AS(incomplete_beta(0, 1, 0.5), value_error);
  CHECK_THROWS_AS(incomplete_beta(1, 1, 1.5), value_error);
}

TEST_CASE("paired t test: Student's own sleep data, and the closed form for two degrees of freedom") {
  // Student, Biometrika 1908; t = -4.0621, p = 0.002833 in the manual page of R's t.test data set `sleep`.
  const Values a{0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0}, b{1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4};
  const auto sleep = paired_t_test(a, b);
  CHECK(sleep.statistic == Approx(-4.0621).epsilon(1e-5));
  CHECK(sleep.p_two_sided == Approx(0.002833).epsilon(1e-4));
  CHECK(sleep.p_greater == Approx(1 - 0.002833 / 2).epsilon(1e-6));
  CHECK(paired_t_test(b, a).p_greater == Approx(0.002833 / 2).epsilon(1e-4));

  const Values x{1, 2, 4}, zero{0, 0, 0};
  const auto three = paired_t_test(x, zero);
  const double t = 7.0 / 3 / (std::sqrt(7.0 / 3) / std::sqrt(3.0));
  CHECK(three.statistic == Approx(t).epsilon(exact));
  CHECK(three.p_two_sided == Approx(1 - t / std::sqrt(2 + t * t)).epsilon(exact));
}

TEST_CASE("paired t test at its edges") {
  const Values ones{1, 1, 1}, zero{0, 0, 0}, up{-1, 0, 1};
  CHECK(paired_t_test(ones, ones).p_two_sided == 1);
  CHECK(paired_t_test(up, zero).p_greater == 0.5);
  CHECK(paired_t_test(ones, zero).p_two_sided == 0);
  CHECK(paired_t_test(ones, zero).p_greater == 0);
  CHECK(paired_t_test(zero, ones).p_greater == 1);
  CHECK(paired_t_test(Values{0.3, 0.7}, Values{0.2, 0.6}).p_two_sided == 0);  // both 0.1 but for rounding
  CHECK_THROWS_AS(paired_t_test(Values{1}, Values{2}), value_error);
  CHECK_THROWS_AS(paired_t_test(ones, Values{1, 2}), shape_error);
  CHECK_THROWS_AS(paired_t_test(ones, Values{1, 2, std::numeric_limits<double>::quiet_NaN()}), value_error);
}

TEST_CASE("sign test counts coins") {
  const auto test = [](std::size_t plus, std::size_t minus, std::size_t ties) {
    Values d(plus, 1.0);
    d.insert(d.end(), minus, -2.0);
    d.insert(d.end(), ties, 0.0);
    return sign_test(d, Values(d.size()));
  };
  CHECK(test(5, 0, 0).p_greater == Approx(1 / 32.).epsilon(exact));
  CHECK(test(5, 0, 3).p_two_sided == Approx(2 / 32.).epsilon(exact));
  CHECK(test(4, 1, 0).p_greater == Approx(6 / 32.).epsilon(exact));
  CHECK(test(1, 4, 0).p_greater == Approx(31 / 32.).epsilon(exact));
  CHECK(test(2, 2, 0).p_two_sided == 1);
  CHECK(test(0, 0, 4).p_two_sided == 1);
  CHECK(test(4, 1, 0).statistic == 4);
  CHECK_THROWS_AS(sign_test(Values{}, Values{}), value_error);
}

TEST_CASE("Wilcoxon: a textbook case, and all sign patterns counted one by one") {
  // Hollander & Wolfe 1973, depression scale; V = 40, p = 0.01953 in the manual page of R's wilcox.test.
  const Values x{1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30}, y{0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29};
  const auto depression = wilcoxon_test(x, y);
  CHECK(depression.statistic == 40);
  CHECK(depression.p_greater == Approx(10 / 512.).epsilon(exact));
  CHECK(depression.p_two_sided == Approx(20 / 512.).epsilon(exact));

  const Values d{1, -1, 2, 2, -2, 3, 0, 5};  // ties and a zero
  const Values rank{1.5, 1.5, 4, 4, 4, 6, 7};
  const double observed = 1.5 + 4 + 4 + 6 + 7;
  int greater = 0, less = 0;
  for (unsigned signs = 0; signs < 128; ++signs) {
    double sum = 0;
    for (unsigned i = 0; i < 7; ++i) sum += (signs >> i & 1) ? rank[i] : 0;
    greater += sum >= observed;
    less += sum <= observed;
  }
  const auto ties = wilcoxon_test(d, Values(8));
  CHECK(ties.statistic == observed);
  CHECK(ties.p_greater == Approx(greater / 128.).epsilon(exact));
  CHECK(ties.p_two_sided == Approx(std::min(greater, less) / 64.).epsilon(exact));
  CHECK(wilcoxon_test(Values{1, 1}, Values{1, 1}).p_two_sided == 1);
  CHECK_THROWS_AS(wilcoxon_test(Values{}, Values{}), value_error);
  CHECK_THROWS_AS(wilcoxon_test(Values(61, 1.0), Values(61)), value_error);
}

TEST_CASE("under no difference a p value is uniform") {
  Rng rng(21);
  int below = 0;
  const int repeats = 4000;
  for (int r = 0; r < repeats; ++r) {
    Values a(6), b(6);
    for (double& v : a) v = rng.normal();
    for (double& v : b) v = rng.normal();
    below += paired_t_test(a, b).p_greater < 0.05;
  }
  // 200 expected, standard deviation 14: five of them.
  CHECK(std::abs(below - 200) < 70);
}
