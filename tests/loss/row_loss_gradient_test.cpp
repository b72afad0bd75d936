#include <doctest/doctest.h>

#include "row_loss_fixture.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

namespace {

/// Student, teacher and per-row temperature gradients against differences, with weights of either sign.
template <class Loss>
void check_gradients(const char* name, const Loss& loss, bool temperatures) {
  for (index_t classes : {2, 7, 19}) {
    CAPTURE(name);
    CAPTURE(classes);
    Problem<double> p(3, classes, 5);
    p.weight = {0.5, 2., -1.5};
    if (temperatures) p.temperature = {0.8, 2.5, 4.};
    p.evaluate(loss, true);
    const auto f = [&] { return p.value(loss); };
    CHECK(difference_error(p.student, p.d_student, f) < difference_tolerance);
    CHECK(difference_error(p.teacher, p.d_teacher, f) < difference_tolerance);
    if (temperatures) CHECK(difference_error(p.temperature, p.d_temperature, f) < difference_tolerance);
  }
}

}  // namespace

TEST_CASE("gradients to student, teacher and temperature agree with central differences") {
  check_gradients("cross-entropy", CrossEntropy<BatchMean>{.weight = 0.7}, false);
  check_gradients("label smoothing", CrossEntropy<BatchMean>{.label_smoothing = 0.2}, false);
  check_gradients("logit mse", LogitMse<ElementMean>{.weight = 3}, false);
  for (bool t : {false, true}) {
    check_gradients("forward kl", ForwardKl<BatchMean, NoTSquared>{.temperature = 2.5}, t);
    check_gradients("soft targets", SoftTargets{.temperature = 4, .weight = 0.9}, t);
    check_gradients("reverse kl", ReverseKl<BatchMean, TSquared>{.temperature = 3}, t);
    check_gradients("jensen-shannon", JensenShannon<ElementMean, TSquared>{.temperature = 3, .beta = 0.3}, t);
    check_gradients("sum at one temperature", Sum{SoftTargets{.temperature = 4}, CrossEntropy<BatchMean>{}, LogitMse<BatchMean>{}}, t);
    check_gradients("sum at three temperatures",
                    Sum{ReverseKl<BatchMean, TSquared>{.temperature = 3}, SoftTargets{.temperature = 4},
                        CrossEntropy<BatchMean>{}, JensenShannon<BatchMean, NoTSquared>{}},
                    t);
  }
}

TEST_CASE("the gradient to the losses' own temperature is the derivative by it") {
  Problem<double> p(3, 11);
  SoftTargets loss{.temperature = 2.5, .weight = 0.8};
  p.evaluate(loss, true);
  double sum = 0;
  for (double d : p.d_temperature) sum += d;
  const auto at = [&](double t) {
    loss.temperature = t;
    return p.value(loss);
  };
  const double h = 1e-4;
  CHECK(sum == doctest::Approx((at(2.5 + h) - at(2.5 - h)) / (2 * h)).epsilon(1e-6));
}
