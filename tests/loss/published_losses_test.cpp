// DKD, NKD, soft cross-entropy, WSLD, TTM, WTTM, the skews and total variation: golden values, differences, invariants,
// extreme logits.
#include <doctest/doctest.h>

#include <retort/loss/combine.hpp>
#include <retort/loss/decoupled.hpp>
#include <retort/loss/normalized.hpp>
#include <retort/loss/skew_kl.hpp>
#include <retort/loss/soft_cross_entropy.hpp>
#include <retort/loss/total_variation.hpp>
#include <retort/loss/transformed_teacher.hpp>

#include "golden.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

namespace {

/// Calls f(name, loss) for every loss of this file.
template <class F>
void each_loss(F&& f) {
  f("DecoupledKd", DecoupledKd<BatchMean>{});
  f("NormalizedKd", NormalizedKd<BatchMean>{.temperature = 2});
  f("SoftCrossEntropy", SoftCrossEntropy<BatchMean, TSquared>{.temperature = 3});
  f("TransformedTeacherMatching", TransformedTeacherMatching<BatchMean>{});
  f("WeightedTransformedTeacherMatching", WeightedTransformedTeacherMatching<BatchMean>{});
  f("SkewForwardKl", SkewForwardKl<BatchMean>{});
  f("SkewReverseKl", SkewReverseKl<BatchMean>{});
  f("TotalVariation", TotalVariation<BatchMean>{});
}

template <class T>
void check_golden() {
  const auto golden = read_golden();
  const auto p = golden_inputs<T>();
  check_row(golden, "DKD: s=zs; t=zt; labels=y; alpha=1; beta=8; T=4; factor T^2", DecoupledKd<BatchMean>{}, p);
  check_row(golden, "DKD_TCKD: s=zs; t=zt; labels=y; T=4; factor T^2", DecoupledKd<BatchMean>{.beta = 0}, p);
  check_row(golden, "DKD_NCKD: s=zs; t=zt; labels=y; T=4; factor T^2", DecoupledKd<BatchMean>{.alpha = 0, .beta = 1}, p);
  check_row(golden, "NKD: s=zs; t=zt; labels=y; gamma=1.5; T=1", NormalizedKd<BatchMean>{}, p);
  check_row(golden, "WSLD: s=zs; t=zt; labels=y; T=4; factor T^2; weight factor 1; w constant", WeightedSoftLabels<BatchMean>{}, p);
  check_row(golden, "TTM: s=zs; t=zt; gamma=0.1", TransformedTeacherMatching<BatchMean>{}, p);
  check_row(golden, "WTTM: s=zs; t=zt; gamma=0.1", WeightedTransformedTeacherMatching<BatchMean>{.gamma = 0.1}, p);
  check_row(golden, "FKL_no_entropy: s=zs; t=zt; T=1", SoftCrossEntropy<BatchMean, NoTSquared>{}, p);
  check_row(golden, "SkewFKL: s=zs; t=zt; alpha=0.1", SkewForwardKl<BatchMean>{}, p);
  check_row(golden, "SkewRKL: s=zs; t=zt; alpha=0.1", SkewReverseKl<BatchMean>{}, p);
  check_row(golden, "TVD: s=zs; t=zt", TotalVariation<BatchMean>{}, p);
}

}  // namespace

TEST_CASE("published losses reproduce the golden values in double") { check_golden<double>(); }
TEST_CASE("published losses reproduce the golden values in float") { check_golden<float>(); }

TEST_CASE("published losses: gradients agree with central differences, rows sum to zero") {
  for (index_t classes : {3, 5, 29})
    each_loss([&](const char* name, const auto& loss) {
      CAPTURE(name);
      CAPTURE(classes);
      Problem<double> p(3, classes, 5);
      p.evaluate(loss);
      CHECK(difference_error(p.student, p.d_student, [&] { return p.value(loss); }) < difference_tolerance);
      for (index_t r = 0; r < 3; ++r) {
        double total = 0;
        for (index_t c = 0; c < classes; ++c) total += p.d_student[static_cast<std::size_t>(r * classes + c)];
        CHECK(std::abs(total) < 1e-12 * std::max(1.0, max_abs(p.d_student)) * static_cast<double>(classes));
      }
    });
  // the weight of WSLD is a constant for the gradient, so it has no difference check; its gradient is w * T * (p - q)
}

TEST_CASE("published losses: zero at s = t where they are divergences, and identities") {
  Problem<double> p(4, 7, 3);
  const Problem<double> q = p;
  p.student = p.teacher;
  CHECK(std::abs(p.value(DecoupledKd<BatchMean>{})) <= 1e-12);
  CHECK(std::abs(p.value(SkewForwardKl<BatchMean>{})) <= 1e-12);
  CHECK(std::abs(p.value(SkewReverseKl<BatchMean>{})) <= 1e-12);
  CHECK(std::abs(p.value(TotalVariation<BatchMean>{})) <= 1e-12);
  CHECK(q.value(SkewForwardKl<BatchMean>{.alpha = 0}) == doctest::Approx(q.value(ForwardKl<BatchMean, NoTSquared>{})).epsilon(1e-12));
  CHECK(q.value(SkewReverseKl<BatchMean>{.alpha = 0}) == doctest::Approx(q.value(ReverseKl<BatchMean, NoTSquared>{})).epsilon(1e-12));
  CHECK(q.value(TotalVariation<BatchMean>{}) <= 1);
  // KL_T = TCKD + (1 - p^t_y) * NCKD for one sample, without T^2
  Problem<double> one(1, 6, 9);
  const double t2 = 16;
  const double kl = one.value(ForwardKl<BatchMean, NoTSquared>{.temperature = 4});
  const double target = one.value(DecoupledKd<BatchMean>{.beta = 0}) / t2, rest = one.value(DecoupledKd<BatchMean>{.alpha = 0, .beta = 1}) / t2;
  double sum = 0;
  for (double t : one.teacher) sum += std::exp(t / 4);
  const double py = std::exp(one.teacher[static_cast<std::size_t>(one.labels[0])] / 4) / sum;
  CHECK(kl == doctest::Approx(target + (1 - py) * rest).epsilon(1e-12));
}

TEST_CASE("published losses stay finite at extreme logits, in float and double") {
  const auto extreme = []<class T>(T) {
    each_loss([](const char* name, const auto& loss) {
      CAPTURE(name);
      for (double size : {80.0, 1e4})
        for (index_t classes : {3, 17, 33}) {
          Problem<T> p(4, classes, 7);
          for (std::size_t i = 0; i < p.student.size(); ++i) {
            p.student[i] = static_cast<T>(i % 3 ? -size : size);
            p.teacher[i] = static_cast<T>(i % 2 ? size : -size);
          }
          CHECK(std::isfinite(p.evaluate(loss)));
          for (T g : p.d_student) REQUIRE(std::isfinite(g));
        }
    });
  };
  extreme(0.f);
  extreme(0.0);
}

TEST_CASE("TTM tempers the teacher alone, whatever temperatures the batch has and other losses take") {
  const TransformedTeacherMatching<BatchMean> ttm{.gamma = 0.25};
  Problem<double> p(3, 11, 6), plain = p;
  plain.evaluate(ttm);
  // as a forward KL at one against logits of the teacher divided by hand
  Problem<double> q = plain;
  for (double& t : q.teacher) t /= 4;
  CHECK(q.evaluate(ForwardKl<BatchMean, NoTSquared>{}) == doctest::Approx(plain.value(ttm)).epsilon(1e-12));
  CHECK(max_difference(q.d_student, plain.d_student) < 1e-15);

  p.temperature = {1, 3, 0.5};
  CHECK(p.evaluate(ttm) == plain.value(ttm));
  CHECK(p.d_student == plain.d_student);
  // beside losses at one, at the batch's temperatures and at a teacher's of its own
  const TransformedTeacherMatching<BatchMean> other{.gamma = 1};
  const SoftTargets soft{.temperature = 4};
  const CrossEntropy<BatchMean> hard{};
  const double parts = p.value(ttm) + p.value(soft) + p.value(hard) + p.value(other);
  std::vector<double> gradient(p.d_student.size());
  const auto add = [&](const auto& loss) {
    p.evaluate(loss);
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] += p.d_student[i];
  };
  add(ttm), add(soft), add(hard), add(other);
  CHECK(p.evaluate(Sum{soft, ttm, hard, other}) == doctest::Approx(parts).epsilon(1e-12));
  CHECK(max_difference(gradient, p.d_student) < 1e-14);
  CHECK_THROWS_WITH_AS(p.value(TransformedTeacherMatching<BatchMean>{.gamma = -0.5}),
                       "row loss: the teacher in term 0 has temperature -2; expected a finite number above 0", value_error);
}

TEST_CASE("DKD and NKD need three classes") {
  Problem<float> p(2, 2);
  CHECK_THROWS_WITH_AS(p.value(DecoupledKd<BatchMean>{}), "row loss: term 0 (DecoupledKd) needs at least 3 classes, got 2", value_error);
  CHECK_THROWS_AS(p.value(NormalizedKd<BatchMean>{}), value_error);
}

TEST_CASE("DKD is exact where published code takes the logarithm of zero") {
  // the label's logit leads by 200: p_y rounds to one even in double at T = 1
  Problem<double> p(1, 4);
  p.labels[0] = 2;
  p.student = {0, 1, 200, 2};
  p.teacher = {1, 0, 210, 3};
  double zs = 0, zt = 0, nckd = 0;
  for (int c : {0, 1, 3}) zs += std::exp(p.student[static_cast<std::size_t>(c)]), zt += std::exp(p.teacher[static_cast<std::size_t>(c)]);
  for (int c : {0, 1, 3}) {
    const double a = p.student[static_cast<std::size_t>(c)] - std::log(zs), b = p.teacher[static_cast<std::size_t>(c)] - std::log(zt);
    nckd += std::exp(b) * (b - a);
  }
  CHECK(p.value(DecoupledKd<BatchMean>{.temperature = 1, .alpha = 0, .beta = 1}) == doctest::Approx(nckd).epsilon(1e-12));
}
