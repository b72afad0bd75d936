#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <retort/loss/decoupled.hpp>
#include <retort/loss/normalized.hpp>
#include <retort/loss/soft_cross_entropy.hpp>

#include "row_loss_fixture.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

static_assert(RowLoss<SoftTargets> && RowLoss<CrossEntropy<TokenMean>> && RowLoss<LogitMse<ElementMean>>);
static_assert(RowLoss<JensenShannon<BatchMean, TSquared>> && RowLoss<ReverseKl<BatchMean, TSquared>>);
static_assert(RowLoss<HintonLoss> && RowLoss<LogitMatching> && RowLoss<Masked<HintonLoss>>);
static_assert(RowLoss<Sum<HintonLoss, Scaled<LogitMatching>>>);
static_assert(!RowLoss<int> && !RowLoss<Sum<>>);

namespace {

/// A sum's value and gradients are the sums of its parts'.
template <class... Losses>
void check_sum(const char* name, Problem<double> p, const Losses&... losses) {
  CAPTURE(name);
  const double value = p.evaluate(Sum{losses...}, true);
  const std::vector<double> g = p.d_student, gt = p.d_teacher, per_row = p.per_row, by_t = p.d_temperature;
  double expected = 0;
  std::vector<double> eg(g.size()), egt(g.size()), eper(per_row.size()), eby(per_row.size());
  const auto add = [&](const auto& loss) {
    expected += p.evaluate(loss, true);
    for (std::size_t i = 0; i < g.size(); ++i) eg[i] += p.d_student[i], egt[i] += p.d_teacher[i];
    for (std::size_t i = 0; i < eper.size(); ++i) eper[i] += p.per_row[i], eby[i] += p.d_temperature[i];
  };
  (add(losses), ...);
  CHECK(value == doctest::Approx(expected).epsilon(1e-12));
  CHECK(max_difference(g, eg) < 1e-13);
  CHECK(max_difference(gt, egt) < 1e-13);
  CHECK(max_difference(per_row, eper) < 1e-12);
  CHECK(max_difference(by_t, eby) < 1e-12);
}

}  // namespace

TEST_CASE("a sum is the sum of its parts, whatever temperatures, weights and masks they have") {
  Problem<double> p(5, 21, 9);
  p.weight = {1, -2, 0.5, 0, 3};
  p.labels[3] = ignored_label;
  const SoftTargets kd{.temperature = 4};
  const Masked<CrossEntropy<BatchMean>> ce{};
  const CrossEntropy<TokenMean> token{.weight = 2};
  const ReverseKl<TokenMean, TSquared> rkl{.temperature = 4};
  const JensenShannon<BatchMean, NoTSquared> jsd{.temperature = 1, .beta = 0.2};
  check_sum("one temperature", p, kd, ce, rkl);
  check_sum("temperature one beside others", p, kd, ce, jsd, rkl);
  check_sum("three temperatures", p, kd, ReverseKl<BatchMean, NoTSquared>{.temperature = 2}, jsd, token, LogitMse<ElementMean>{});
  check_sum("nested", p, Scaled{Sum{kd, rkl}, -0.5}, Masked{Sum{jsd, LogitMse<BatchMean>{}}}, token);
  p.temperature = {1, 2, 3, 4, 0.5};
  check_sum("per-row temperatures", p, kd, jsd, token, rkl);
}

TEST_CASE("Hinton's loss by nested designated initialisers; defaults are the CIFAR recipe") {
  Problem<double> p(4, 10);
  const HintonLoss loss{.soft = {.temperature = 2.f, .weight = 0.75f}, .hard = {.weight = 0.25f}};
  CHECK(p.value(loss) == doctest::Approx(p.value(SoftTargets{.temperature = 2, .weight = 0.75}) +
                                         p.value(CrossEntropy<BatchMean>{.weight = 0.25})));
  CHECK(p.value(HintonLoss{}) == doctest::Approx(0.9 * p.value(SoftTargets{.temperature = 4}) + 0.1 * p.value(CrossEntropy<BatchMean>{})));
}

TEST_CASE("a loss of one's own over plain floats, alone and in a sum, in float and in double") {
  for (index_t classes : {1, 5, 16, 37}) {
    Problem<float> p(6, classes);
    const double own = p.evaluate(LogitMatching{.weight = 2.f});
    const std::vector<float> g = p.d_student;
    const double reference = p.evaluate(LogitMse<BatchMean>{});
    CHECK(own == doctest::Approx(reference).epsilon(value_tolerance<float>));
    CHECK(max_difference(g, p.d_student) < gradient_tolerance<float>);
  }
  Problem<double> d(6, 37);
  CHECK(d.value(Sum{LogitMatching{.weight = 2.f}, SoftTargets{}}) ==
        doctest::Approx(d.value(LogitMse<BatchMean>{}) + d.value(SoftTargets{})).epsilon(value_tolerance<float>));
}

namespace {
/// A loss whose grad returns the product itself, where the library's returns RowScaled.
struct Multiplied : ReverseKl<BatchMean, TSquared> {
  template <class V>
  RETORT_HD V grad(const BasicCell<V>& c) const {
    return ReverseKl::grad(c);
  }
};
template <class T>
void check_row_scaled() {
  Problem<T> a(5, 21), b(5, 21);
  a.weight = b.weight = {T(1), T(0.5), T(2), T(0), T(-1)};
  for (const bool all : {false, true}) {
    CHECK(a.evaluate(Multiplied{{.temperature = 3, .weight = 0.4}}, all) == b.evaluate(ReverseKl<BatchMean, TSquared>{.temperature = 3, .weight = 0.4}, all));
    CHECK(max_abs(b.d_student) > 0.01);
    CHECK(max_difference(a.d_student, b.d_student) < gradient_tolerance<T>);
    CHECK(max_difference(a.d_teacher, b.d_teacher) < gradient_tolerance<T>);
    CHECK(max_difference(a.d_temperature, b.d_temperature) < gradient_tolerance<T>);
  }
}
}  // namespace

TEST_CASE("a gradient as RowScaled is its product, with row weights, alone and beside the gradients to teacher and temperature") {
  check_row_scaled<float>();
  check_row_scaled<double>();
}

TEST_CASE("rows with an ignored label: TokenMean counts the others, an all-ignored batch is 0") {
  Problem<double> p(4, 9), kept(2, 9);
  p.labels = {1, ignored_label, 3, ignored_label};
  for (std::size_t r = 0; r < 2; ++r) {
    kept.labels[r] = p.labels[2 * r];
    for (std::size_t c = 0; c < 9; ++c)
      kept.student[9 * r + c] = p.student[18 * r + c], kept.teacher[9 * r + c] = p.teacher[18 * r + c];
  }
  const Sum loss{CrossEntropy<TokenMean>{}, ForwardKl<TokenMean, NoTSquared>{.temperature = 2}};
  CHECK(p.evaluate(loss, true) == doctest::Approx(kept.evaluate(loss, true)));
  for (std::size_t c = 0; c < 9; ++c) {
    CHECK(p.d_student[18 + c] == doctest::Approx(kept.d_student[9 + c]));
    CHECK(p.d_student[9 + c] == 0);
    CHECK(p.d_teacher[27 + c] == 0);
  }
  CHECK(p.per_row[1] == 0);
  CHECK(p.d_temperature[1] == 0);
  p.labels.assign(4, ignored_label);
  CHECK(p.evaluate(loss, true) == 0);
  CHECK(max_abs(p.d_student) == 0);
  CHECK(max_abs(p.d_teacher) == 0);
}

TEST_CASE("Masked: the batch's mask decides, labels of masked rows may be anything, N stays the divisor") {
  Problem<double> p(4, 9);
  p.mask = {1, 0, 1, 0};
  p.labels[1] = 999;
  const Masked<CrossEntropy<BatchMean>> loss{};
  const double value = p.evaluate(loss);
  CHECK(std::abs(p.d_student[9]) == 0);
  p.mask.clear();
  p.labels[1] = p.labels[3] = ignored_label;
  CHECK(p.value(loss) == doctest::Approx(value));
  Problem<double> q = p;
  q.labels[1] = q.labels[3] = 0;
  q.evaluate(CrossEntropy<BatchMean>{}, true);
  CHECK(value == doctest::Approx((q.per_row[0] + q.per_row[2]) / 4));
}

TEST_CASE("reductions: ElementMean is BatchMean over the classes; weights multiply rows; per_row is neither") {
  Problem<double> p(4, 10);
  CHECK(p.value(ForwardKl<ElementMean, TSquared>{}) == doctest::Approx(p.value(SoftTargets{}) / 10));
  p.weight = {2, -1, 0, 0.5};
  const double value = p.evaluate(SoftTargets{.weight = 3}, true);
  double expected = 0;
  for (std::size_t r = 0; r < 4; ++r) expected += p.weight[r] * p.per_row[r] / 4;
  CHECK(value == doctest::Approx(expected));
}

TEST_CASE_TEMPLATE("losses over the classes without the label share passes with the others of a sum, also where the label leads by far", T, float, double) {
  for (T lead : {T(0), T(30), T(400)})
    for (double t : {1., 3., 4.}) {
      CAPTURE(lead);
      CAPTURE(t);
      Problem<T> p(6, 37, 5);
      for (std::size_t r = 0; r < 6; ++r) {
        const auto at = 37 * r + static_cast<std::size_t>(p.labels[r]);
        if (r % 2 == 0) p.student[at] += lead;
        if (r % 3 == 0) p.teacher[at] += lead;
      }
      p.labels[4] = ignored_label;
      const auto alone = [&](const auto&... losses) {
        std::vector<T> sum(p.student.size());
        double value = 0;
        ((value += p.evaluate(losses), std::transform(sum.begin(), sum.end(), p.d_student.begin(), sum.begin(), std::plus<>())), ...);
        return std::pair(value, sum);
      };
      const DecoupledKd<TokenMean> dkd{.temperature = t};
      const NormalizedKd<TokenMean> nkd{.temperature = t};
      const CrossEntropy<TokenMean> hard{};
      const ReverseKl<BatchMean, TSquared> reverse{.temperature = t};
      const ForwardKl<BatchMean, TSquared> later{.temperature = 2};
      const WeightedSoftLabels<TokenMean> weighted{.temperature = t};
      const LogitMse<ElementMean> square{};
      const auto [value, gradient] = alone(dkd, nkd, hard, reverse, later, weighted, square);
      CHECK(p.evaluate(Sum{dkd, nkd, hard, reverse, later, weighted, square}) == doctest::Approx(value).epsilon(value_tolerance<T>));
      CHECK(max_difference(p.d_student, gradient) <= gradient_tolerance<T> * max_abs(gradient));
    }
}
