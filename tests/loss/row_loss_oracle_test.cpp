// Soft targets against an independent implementation in xtensor, written from the formula.

#include <doctest/doctest.h>

#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xview.hpp>

#include "row_loss_fixture.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

TEST_CASE("soft targets and cross-entropy agree with an xtensor oracle") {
  for (double temperature : {1., 4., 0.5}) {
    const std::size_t rows = 37, classes = 123;
    Problem<double> p(rows, classes, 17);
    const std::vector<std::size_t> shape{rows, classes};
    const xt::xarray<double> s = xt::adapt(p.student, shape), t = xt::adapt(p.teacher, shape);
    const auto softmax = [&](const xt::xarray<double>& z, double by) {
      // Each reduction is evaluated before it is broadcast: lazy ones inside broadcasts go astray in xtensor 0.24.
      xt::xarray<double> top = xt::amax(z, {1});
      top.reshape({rows, std::size_t{1}});
      xt::xarray<double> e = xt::exp((z - top) / by);
      xt::xarray<double> sum = xt::sum(e, {1});
      sum.reshape({rows, std::size_t{1}});
      return xt::xarray<double>(e / sum);
    };
    const xt::xarray<double> ps = softmax(s, temperature), pt = softmax(t, temperature);
    const double n = double(rows);
    const double kd = temperature * temperature / n * xt::sum(pt * (xt::log(pt) - xt::log(ps)))();
    const xt::xarray<double> gradient = temperature / n * (ps - pt);

    CHECK(p.evaluate(SoftTargets{.temperature = temperature}) == doctest::Approx(kd).epsilon(value_tolerance<double>));
    CHECK(max_difference(p.d_student, std::vector<double>(gradient.begin(), gradient.end())) < 1e-12);

    const xt::xarray<double> p1 = softmax(s, 1);
    double ce = 0;
    for (std::size_t r = 0; r < rows; ++r) ce -= std::log(p1(r, static_cast<std::size_t>(p.labels[r]))) / n;
    CHECK(p.value(CrossEntropy<BatchMean>{}) == doctest::Approx(ce).epsilon(value_tolerance<double>));
  }
}
