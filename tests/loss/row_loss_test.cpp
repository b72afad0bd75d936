#include <doctest/doctest.h>

#include <limits>
#include <string>

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

template <class Error, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

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
  Rng rng(11);
  const auto split = [&](const auto& loss) {
    auto total = loss.template identity<double>();
    for (index_t c = 0; c < classes;) {
      auto part = loss.template identity<double>();
      const index_t end = std::min<index_t>(classes, c + rng.next_u32() % 9);
      for (; c < end; ++c) part = loss.add(part, cell(c));
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
  const auto finite = [](double x) { return retort::detail::is_finite(x); };
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
          CHECK(max_difference(p.d_student, d.d_student) <= 10 * gradient_tolerance<float> * std::max(1., max_abs(d.d_student)));
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

TEST_CASE("bad inputs give typed errors that name what was wrong, before anything is written") {
  Problem<float> p(4, 10);
  const HintonLoss loss{};
  const auto shape_message = [&] { return message_of<shape_error>([&] { p.evaluate(loss); }); };
  const auto value_message = [&] { return message_of<value_error>([&] { p.evaluate(loss); }); };

  p.labels[2] = 10;
  CHECK(contains(value_message(), "label 10 of row 2 is outside [0, 10)"));
  p.labels[2] = -1;
  CHECK(contains(value_message(), "label -1 of row 2"));
  p.labels[2] = ignored_label;  // not allowed under BatchMean
  CHECK(contains(value_message(), "label -100"));
  p.labels.clear();
  CHECK(contains(shape_message(), "needs labels"));
  p.labels = {0, 1, 2, 3};

  const auto teacher = p.teacher;
  p.teacher.clear();
  CHECK(contains(shape_message(), "student logits have shape (4, 10), teacher logits have shape (0, 0)"));
  p.teacher = teacher;

  p.weight = {1.f};
  CHECK(p.batch().weight.size() == 4);  // the fixture sizes views by rows; a short one is made by hand
  RowBatch<float> b = p.batch();
  b.weight.shape = {3};
  Cpu cpu;
  const auto run = [&](const auto& l) { return cpu::RowLossKernels::row_loss(cpu, l, b, RowGradients<float>{}); };
  CHECK(contains(message_of<shape_error>([&] { run(loss); }), "expected 4 weights, got 3"));
  p.weight.clear();

  b = p.batch();
  b.student.shape = {0, 10};
  CHECK(contains(message_of<shape_error>([&] { run(loss); }), "(0, 10)"));
  b = p.batch();
  b.student.shape = b.teacher.shape = {4, 1};
  b.labels = {};
  CHECK(contains(message_of<value_error>([&] { run(SoftTargets{}); }), "one class"));
  b = p.batch();
  b.labels = {};
  CHECK(contains(message_of<shape_error>([&] { run(Masked<SoftTargets>{}); }), "mask or labels"));

  CHECK(contains(message_of<value_error>([&] { p.evaluate(SoftTargets{.temperature = 0}); }), "term 0 has temperature 0"));
  p.temperature = {1, 2, -3, 4};
  CHECK(contains(value_message(), "row 2 has temperature -3"));
  p.temperature.clear();
  CHECK(contains(message_of<value_error>([&] { p.evaluate(LogitMatching{}, true); }), "no teacher_grad"));
  CHECK(max_difference(p.d_student, std::vector<float>(40, 77.f)) == 0);  // nothing was written
}

TEST_CASE("logits that are not finite: an error that names the row and the loss") {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (std::size_t at : {std::size_t{23}, std::size_t{39}}) {  // inside a vector, and in a rest
      Problem<float> p(4, 10);
      p.student[at] = bad;
      p.labels = {0, 1, 0, 1};
      const auto message = message_of<value_error>([&] { p.evaluate(HintonLoss{}); });
      CHECK(contains(message, at == 23 ? "row 2 is not finite" : "row 3 is not finite"));
      CHECK(contains(message_of<value_error>([&] { p.evaluate(CrossEntropy<BatchMean>{}); }), "CrossEntropy"));
      p = Problem<float>(4, 10);
      p.teacher[at] = bad;
      CHECK(contains(message_of<value_error>([&] { p.evaluate(Sum{CrossEntropy<BatchMean>{}, SoftTargets{}}); }), "term 1, ForwardKl"));
    }
}
