// Every row loss at logits of +-1e4, at T = 0.1, with two classes and with a language model's vocabulary, and on batches
// whose rows are all masked: finite values and gradients, and zeros where nothing counts.
#include <doctest/doctest.h>

#include <retort/backend/cpu_select.hpp>
#include <retort/loss/decoupled.hpp>
#include <retort/loss/logit_distance.hpp>
#include <retort/loss/mini_finetuning.hpp>
#include <retort/loss/normalized.hpp>
#include <retort/loss/regularizers.hpp>
#include <retort/loss/scaffolded_soft_targets.hpp>
#include <retort/loss/skew_kl.hpp>
#include <retort/loss/soft_cross_entropy.hpp>
#include <retort/loss/symmetric_kl.hpp>
#include <retort/loss/top_k.hpp>
#include <retort/loss/total_variation.hpp>
#include <retort/loss/transformed_teacher.hpp>

#include "row_loss_fixture.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

namespace {

/// Calls f(name, loss) for every row loss, at temperature T where it has one.
template <class F>
void each_row_loss(double t, index_t classes, F&& f) {
  using R = TokenMean;  // with valid labels it is BatchMean
  f("CrossEntropy", CrossEntropy<R>{.label_smoothing = 0.1});
  f("ForwardKl", ForwardKl<R, TSquared>{.temperature = t});
  f("ReverseKl", ReverseKl<R, TSquared>{.temperature = t});
  f("SymmetricKl", SymmetricKl<R, TSquared>{.temperature = t});
  f("JensenShannon", JensenShannon<R, TSquared>{.temperature = t, .beta = 0.1});
  f("SkewForwardKl", SkewForwardKl<R>{});
  f("SkewReverseKl", SkewReverseKl<R>{});
  f("TotalVariation", TotalVariation<R>{});
  f("SoftCrossEntropy", SoftCrossEntropy<R, TSquared>{.temperature = t});
  f("WeightedSoftLabels", WeightedSoftLabels<R>{.temperature = t});
  f("TransformedTeacherMatching", TransformedTeacherMatching<R>{});
  f("WeightedTransformedTeacherMatching", WeightedTransformedTeacherMatching<R>{});
  f("LogitMse", LogitMse<R>{});
  f("LogitL1", LogitL1<R>{});
  f("MiniFineTuning", MiniFineTuning<R, TSquared>{.temperature = t});
  f("ConfidencePenalty", ConfidencePenalty<R>{});
  f("VirtualTeacher", VirtualTeacher<R, TSquared>{.temperature = t});
  f("VirtualTeacherAsPublished", VirtualTeacherAsPublished<R>{});
  f("TopKForwardKl, zero tail", TopKForwardKlRows<ZeroTail, R, TSquared>{.temperature = t});
  f("TopKForwardKl, uniform tail", TopKForwardKlRows<UniformTail, R, TSquared>{.temperature = t});
  if (classes < 3) return;
  f("DecoupledKd", DecoupledKd<R>{.temperature = t});
  f("NormalizedKd", NormalizedKd<R>{.temperature = t});
}

/// Large logits in patterns that put both nets at odds, at one, and at ties.
template <class T>
Problem<T> extreme(index_t classes) {
  Problem<T> p(4, classes, 7);
  for (index_t r = 0; r < 4; ++r)
    for (index_t c = 0; c < classes; ++c) {
      const auto at = static_cast<std::size_t>(r * classes + c);
      p.student[at] = r == 3 ? T(1e4) : T(c % 3 == r % 3 ? 1e4 : -1e4);
      p.teacher[at] = r == 2 ? T(-1e4) : T((c + r) % 2 ? 1e4 : -1e4);
    }
  p.set_extras(3);
  Cpu cpu;
  cpu::Selection::select_top(cpu, View<const T, 2>{p.teacher.data(), {4, classes}}, std::max<index_t>(1, classes / 2), View<T, 2>{p.extras.data(), {4, 3}});
  return p;
}

template <class T>
void check_extremes() {
  for (index_t classes : {2, 3, 17, 100})
    for (double t : {0.1, 1., 4.}) {
      Problem<T> p = extreme<T>(classes);
      each_row_loss(t, classes, [&](const char* name, const auto& loss) {
        CAPTURE(name);
        CAPTURE(classes);
        CAPTURE(t);
        REQUIRE_NOTHROW(p.evaluate(loss));
        CHECK(std::isfinite(p.value(loss)));
        for (T g : p.d_student) REQUIRE(std::isfinite(g));
      });
    }
}

}  // namespace

TEST_CASE("all row losses are finite at logits of 1e4 and T = 0.1, in float") { check_extremes<float>(); }
TEST_CASE("all row losses are finite at logits of 1e4 and T = 0.1, in double") { check_extremes<double>(); }

TEST_CASE("a batch whose rows are all masked has value 0 and gradient 0, whatever it holds") {
  for (index_t classes : {2, 5, 33}) {
    Problem<float> p = extreme<float>(classes);
    p.labels.assign(4, ignored_label);
    each_row_loss(1, classes, [&](const char* name, const auto& loss) {
      CAPTURE(name);
      p.d_student.assign(p.d_student.size(), 77.f);
      CHECK(p.evaluate(loss) == 0);
      CHECK(max_abs(p.d_student) == 0);
    });
    for (bool by_mask : {false, true}) {  // Masked, by labels and by the batch's mask
      if (by_mask) p.mask.assign(4, 0);
      CHECK(p.evaluate(Masked{Sum{SoftTargets{}, CrossEntropy<BatchMean>{}}}) == 0);
      CHECK(max_abs(p.d_student) == 0);
    }
  }
}

TEST_CASE_TEMPLATE("DiSK's hint is finite at logits of 1e4, T = 0.1 and two classes, and 0 where no row counts", T, float, double) {
  for (index_t classes : {2, 17, 100})
    for (double t : {0.1, 3.5})
      for (T gate : {T(0), T(0.5), T(1)}) {
        CAPTURE(classes);
        CAPTURE(t);
        Problem<T> p = extreme<T>(classes);
        const std::vector<T> top = p.extras;
        p.set_extras(4);
        for (std::size_t r = 0; r < 4; ++r) {
          p.extras[4 * r] = gate;
          std::copy_n(top.begin() + static_cast<std::ptrdiff_t>(3 * r), 3, p.extras.begin() + static_cast<std::ptrdiff_t>(4 * r + 1));
        }
        const ScaffoldedHint hint{.temperature = t, .teacher_temperature = t};
        CHECK(std::isfinite(p.evaluate(hint)));
        for (T g : p.d_student) REQUIRE(std::isfinite(g));
        p.mask.assign(4, 0);
        CHECK(p.evaluate(Masked{hint}) == 0);
        CHECK(max_abs(p.d_student) == 0);
      }
}

TEST_CASE("a vocabulary of 128256: float agrees with double") {
  constexpr index_t vocabulary = 128256;
  Problem<double> d(1, vocabulary, 11);
  d.labels[0] = vocabulary - 1;
  Problem<float> f(1, vocabulary, 11);
  f.labels = d.labels;
  f.student.assign(d.student.begin(), d.student.end());
  f.teacher.assign(d.teacher.begin(), d.teacher.end());
  d.student.assign(f.student.begin(), f.student.end());
  d.teacher.assign(f.teacher.begin(), f.teacher.end());
  Cpu cpu;
  d.set_extras(3);
  cpu::Selection::select_top(cpu, View<const double, 2>{d.teacher.data(), {1, vocabulary}}, 128, View<double, 2>{d.extras.data(), {1, 3}});
  f.set_extras(3);
  f.extras.assign(d.extras.begin(), d.extras.end());
  each_row_loss(2, vocabulary, [&](const char* name, const auto& loss) {
    CAPTURE(name);
    const double expected = d.evaluate(loss);
    CHECK(f.evaluate(loss) == doctest::Approx(expected).epsilon(10 * value_tolerance<float>));  // sums of 1e5 terms
    CHECK(max_difference(f.d_student, d.d_student) <= 10 * gradient_tolerance<float> * max_abs(d.d_student));
  });
}
