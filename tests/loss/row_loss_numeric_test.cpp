#include <doctest/doctest.h>

#include "row_loss_fixture.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

TEST_CASE("merging accumulators of a split row gives the row's value") {
  const JensenShannon<BatchMean, TSquared> jsd{.temperature = 2, .beta = 0.3, .weight = 1.5};
  const LogitMse<BatchMean> mse{};
  const index_t classes = 41;
  Problem<double> p(1, classes, 3);
  Row<double> row;
  row.classes = classes;
  row.temperature = 2;
  std::vector<SoftmaxCell<double>> soft[2];
  for (int side = 0; side < 2; ++side) {
    const auto& z = side == 0 ? p.student : p.teacher;
    double sum = 0;
    for (double v : z) sum += std::exp(v / 2);
    for (double v : z) soft[side].push_back({std::exp(v / 2) / sum, v / 2 - std::log(sum)});
  }
  const auto cell = [&](index_t c) {
    const auto i = static_cast<std::size_t>(c);
    return BasicCell<double>{p.student[i], p.teacher[i], std::int32_t(c), false, soft[0][i], soft[1][i], {}, {}, nullptr, row};
  };
  const auto add = [&](const auto& loss, auto a, auto c) {
    if constexpr (requires { loss.keep(c); }) c.kept = loss.keep(c);
    return loss.add(a, c);
  };
  Rng rng(11);
  const auto split = [&](const auto& loss) {
    auto total = loss.template identity<double>();
    for (index_t c = 0; c < classes;) {
      auto part = loss.template identity<double>();
      const index_t end = std::min<index_t>(classes, c + rng.next_u32() % 9);
      for (; c < end; ++c) part = add(loss, part, cell(c));
      total = rng.next_u32() % 2 ? loss.merge(total, part) : loss.merge(part, total);
    }
    return total;
  };
  for (int trial = 0; trial < 20; ++trial) {
    CHECK(jsd.value(split(jsd), row) == doctest::Approx(p.value(jsd)).epsilon(value_tolerance<double>));
    CHECK(mse.value(split(mse)) == doctest::Approx(p.value(mse)).epsilon(value_tolerance<double>));
  }
}

TEST_CASE("widths around the vector length and large vocabularies: float agrees with double") {
  const Sum loss{SoftTargets{.temperature = 4}, CrossEntropy<BatchMean>{.label_smoothing = 0.1},
                 ReverseKl<BatchMean, TSquared>{.temperature = 4}, JensenShannon<BatchMean, NoTSquared>{.temperature = 2}};
  for (index_t classes : {2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 128256}) {
    CAPTURE(classes);
    Problem<double> d(3, classes);
    Problem<float> f(3, classes);
    d.student.assign(f.student.begin(), f.student.end());
    d.teacher.assign(f.teacher.begin(), f.teacher.end());
    const double expected = d.evaluate(loss);
    CHECK(f.evaluate(loss) == doctest::Approx(expected).epsilon(value_tolerance<float>));
    CHECK(max_difference(f.d_student, d.d_student) < gradient_tolerance<float> * max_abs(d.d_student));
  }
}

TEST_CASE("extreme logits stay finite, and right where the answer is known") {
  const auto finite = [](double x) { return retort::is_finite(x); };
  for (double scale : {80., 1e4})
    for (double temperature : {0.1, 1., 4.})
      for (index_t classes : {2, 33, 1000}) {
        CAPTURE(scale);
        CAPTURE(temperature);
        CAPTURE(classes);
        Problem<float> p(3, classes);
        Problem<double> d(3, classes);
        for (std::size_t i = 0; i < p.student.size(); ++i) {
          p.student[i] = static_cast<float>(i % 3 == 0 ? scale : i % 3 == 1 ? -scale : 0);
          p.teacher[i] = static_cast<float>(i % 2 == 0 ? scale : -scale);
        }
        d.student.assign(p.student.begin(), p.student.end());
        d.teacher.assign(p.teacher.begin(), p.teacher.end());
        const auto check = [&](const auto& loss) {
          const double value = p.evaluate(loss), expected = d.evaluate(loss);
          CHECK(value == doctest::Approx(expected).epsilon(10 * value_tolerance<float>));
          for (float g : p.d_student) CHECK(finite(double(g)));
          // A reverse KL's gradient subtracts the divergence from log-ratios as large as it: rounding is relative to that.
          CHECK(max_difference(p.d_student, d.d_student) <= 10 * gradient_tolerance<float> * std::max(1., std::abs(expected)));
        };
        check(SoftTargets{.temperature = temperature});
        check(ReverseKl<BatchMean, NoTSquared>{.temperature = temperature});
        check(JensenShannon<BatchMean, NoTSquared>{.temperature = temperature});
        check(CrossEntropy<BatchMean>{.label_smoothing = 0.1});
      }
  // Both probabilities underflow in one class: Jensen-Shannon must not be NaN, and is at most log 2.
  Problem<double> far(1, 3);
  far.student = {1e4, -1e4, 0};
  far.teacher = {0, -1e4, 1e4};
  CHECK(far.value(JensenShannon<BatchMean, NoTSquared>{}) == doctest::Approx(std::log(2.)));
  // Forward KL of two opposite certain rows is the logit gap.
  CHECK(far.value(ForwardKl<BatchMean, NoTSquared>{}) == doctest::Approx(1e4));
  // Equal rows.
  Problem<float> equal(2, 50);
  equal.student.assign(100, 3.f);
  equal.teacher.assign(100, -2.f);
  CHECK(std::abs(equal.value(SoftTargets{.temperature = 4})) < 1e-6);
  CHECK(equal.value(CrossEntropy<BatchMean>{}) == doctest::Approx(std::log(50.)).epsilon(value_tolerance<float>));
}

TEST_CASE("invariants of losses on softmax") {
  const auto check = [](const auto& loss) {
    Problem<double> p(3, 30, 21);
    const double value = p.evaluate(loss, true);
    const std::vector<double> gs = p.d_student, gt = p.d_teacher;
    for (std::size_t r = 0; r < 3; ++r) {  // gradient rows sum to 0
      double s = 0, t = 0;
      for (std::size_t c = 0; c < 30; ++c) s += gs[30 * r + c], t += gt[30 * r + c];
      CHECK(std::abs(s) < 1e-14);
      CHECK(std::abs(t) < 1e-14);
    }
    for (std::size_t i = 0; i < p.student.size(); ++i) p.student[i] += double(i / 30) - 7, p.teacher[i] -= 3.5;
    CHECK(p.evaluate(loss) == doctest::Approx(value).epsilon(1e-12));  // a constant per row changes nothing
    CHECK(max_difference(gs, p.d_student) < 1e-14);
    p.student = p.teacher;  // zero, and a minimum, where student and teacher agree
    CHECK(std::abs(p.evaluate(loss)) <= 1e-12);
    CHECK(max_abs(p.d_student) < 1e-14);
    Rng rng(4);
    for (double& z : p.student) z += 0.3 * rng.normal();
    CHECK(p.value(loss) > 0);
  };
  check(SoftTargets{.temperature = 4});
  check(ReverseKl<BatchMean, TSquared>{.temperature = 4});
  check(JensenShannon<BatchMean, NoTSquared>{.beta = 0.3});
  Problem<double> p(3, 30), swapped = p;
  std::swap(swapped.student, swapped.teacher);
  CHECK(p.value(ForwardKl<BatchMean, TSquared>{.temperature = 3}) ==
        doctest::Approx(swapped.value(ReverseKl<BatchMean, TSquared>{.temperature = 3})).epsilon(1e-12));
  CHECK(p.value(ForwardKl<BatchMean, TSquared>{}) != doctest::Approx(p.value(ReverseKl<BatchMean, TSquared>{})));
  CHECK(p.value(JensenShannon<BatchMean, NoTSquared>{.beta = 0.3}) ==
        doctest::Approx(swapped.value(JensenShannon<BatchMean, NoTSquared>{.beta = 0.7})).epsilon(1e-12));
  CHECK(p.value(JensenShannon<BatchMean, NoTSquared>{}) <= std::log(2.));
}

TEST_CASE("the result does not depend on the number of threads, bit by bit") {
  Problem<float> p(203, 517);
  const Sum loss{HintonLoss{}, JensenShannon<BatchMean, TSquared>{.temperature = 4}};
  Cpu one(1);
  const double value = p.evaluate(loss, one);
  const std::vector<float> g = p.d_student;
  for (int threads : {2, 3, 5}) {
    Cpu cpu(threads);
    CHECK(p.evaluate(loss, cpu) == value);
    CHECK(g == p.d_student);
  }
}
