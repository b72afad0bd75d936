// Symmetric KL, the top-k divergences, MFT, the regularisers: golden values, differences, invariants, hand-made cases.
#include <doctest/doctest.h>

#include <algorithm>
#include <retort/backend/cpu_select.hpp>
#include <retort/loss/mini_finetuning.hpp>
#include <retort/loss/regularizers.hpp>
#include <retort/loss/symmetric_kl.hpp>
#include <retort/loss/top_k.hpp>

#include "golden.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

namespace {

template <class T>
void select_top(Problem<T>& p, index_t top) {
  p.set_extras(3);
  Cpu cpu;
  cpu::Selection::select_top(cpu, View<const T, 2>{p.teacher.data(), {p.rows, p.classes}}, top, View<T, 2>{p.extras.data(), {p.rows, 3}});
}
using Zero = TopKForwardKlRows<ZeroTail, BatchMean, NoTSquared>;
using Uniform = TopKForwardKlRows<UniformTail, BatchMean, NoTSquared>;
using Mft = MiniFineTuning<BatchMean, TSquared>;

template <class T>
void check_golden() {
  const auto golden = read_golden();
  auto p = golden_inputs<T>();
  check_row(golden, "Symmetric: s=zs; t=zt; lambda=0.5", SymmetricKl<BatchMean, NoTSquared>{}, p);
  check_row(golden, "MFT: s=zs; t=zt; labels=y; threshold=0.2; T=1; eps=1e-7", Mft{}, p);
  select_top(p, 2);
  check_row(golden, "TopK_FKL_zero_tail: s=zs; t=zt; k=2 (teacher's largest)", Zero{}, p);
  check_row(golden, "TopK_FKL_uniform_tail: s=zs; t=zt; k=2 (teacher's largest)", Uniform{}, p);
}

}  // namespace

TEST_CASE("symmetric KL, top-k and MFT reproduce the golden values in double") { check_golden<double>(); }
TEST_CASE("symmetric KL, top-k and MFT reproduce the golden values in float") { check_golden<float>(); }

TEST_CASE("their gradients agree with central differences and sum to zero over a row") {
  for (index_t classes : {3, 8, 29}) {
    const auto check = [&](const char* name, const auto& loss) {
      CAPTURE(name);
      CAPTURE(classes);
      Problem<double> p(3, classes, 5);
      select_top(p, classes / 2);
      p.evaluate(loss);
      CHECK(difference_error(p.student, p.d_student, [&] { return p.value(loss); }) < difference_tolerance);
      for (index_t r = 0; r < 3; ++r) {
        double total = 0;
        for (index_t c = 0; c < classes; ++c) total += p.d_student[static_cast<std::size_t>(r * classes + c)];
        CHECK(std::abs(total) < 1e-12 * std::max(1.0, max_abs(p.d_student)) * static_cast<double>(classes));
      }
    };
    check("SymmetricKl", SymmetricKl<BatchMean, TSquared>{.temperature = 2, .lambda = 0.9});
    check("zero tail", TopKForwardKlRows<ZeroTail, BatchMean, TSquared>{.temperature = 3});
    check("uniform tail", TopKForwardKlRows<UniformTail, BatchMean, TSquared>{.temperature = 3});
    check("MiniFineTuning", Mft{.temperature = 2, .threshold = 0.3});
    check("ConfidencePenalty", ConfidencePenalty<BatchMean>{});
    check("VirtualTeacher", VirtualTeacher<BatchMean, TSquared>{.temperature = 3});
    check("VirtualTeacherAsPublished", VirtualTeacherAsPublished<ElementMean>{});
  }
}

TEST_CASE("top-k over all classes is the forward KL, with either tail") {
  Problem<double> p(4, 9, 3);
  select_top(p, 9);
  const double kl = p.value(ForwardKl<BatchMean, NoTSquared>{});
  CHECK(p.value(Zero{}) == doctest::Approx(kl).epsilon(value_tolerance<double>));
  CHECK(p.value(Uniform{}) == doctest::Approx(kl).epsilon(value_tolerance<double>));
  p.student = p.teacher;
  select_top(p, 4);
  CHECK(std::abs(p.value(Uniform{})) <= 1e-12);
  CHECK(std::abs(p.value(Zero{})) <= 1e-12);
}

TEST_CASE("a uniform tail is exact where the student's tail underflows") {
  Problem<double> p(1, 4);
  p.teacher = {3, 1, 2, 0};
  p.student = {5e3, 0, 5e3, 1};  // the tail is classes 1 and 3, whose probabilities are 0 in double
  select_top(p, 2);
  double zt = 0;
  for (double t : p.teacher) zt += std::exp(t);
  const double mt = (std::exp(1.) + std::exp(0.)) / zt, log_ms = std::log(std::exp(0.) + std::exp(1.)) - 5e3 - std::log(2.);
  double expected = mt * (std::log(mt) - log_ms);
  for (int c : {0, 2}) {
    const double lp = p.teacher[static_cast<std::size_t>(c)] - std::log(zt);
    expected += std::exp(lp) * (lp + std::log(2.));
  }
  CHECK(p.evaluate(Uniform{}) == doctest::Approx(expected).epsilon(value_tolerance<double>));
  CHECK(p.d_student[3] == doctest::Approx(-mt * std::exp(1.) / (1 + std::exp(1.))));
}

TEST_CASE("MFT's corrected teacher prefers the label by the threshold") {
  Problem<double> p(1, 3);
  p.labels[0] = 1;
  p.teacher = {std::log(0.6), std::log(0.3), std::log(0.1)};
  const double lambda = (0.6 - 0.3 + 0.2) / (1 + 0.6 - 0.3 + 1e-7);
  const double target[] = {(1 - lambda) * 0.6, (1 - lambda) * 0.3 + lambda, (1 - lambda) * 0.1};
  CHECK(target[1] - target[0] == doctest::Approx(0.2).epsilon(1e-6));
  double expected = 0, zs = 0;
  for (double s : p.student) zs += std::exp(s);
  for (std::size_t c = 0; c < 3; ++c) expected += target[c] * (std::log(target[c]) - p.student[c] + std::log(zs));
  CHECK(p.value(Mft{}) == doctest::Approx(expected).epsilon(value_tolerance<double>));
}

TEST_CASE("the virtual teacher equals the forward KL to the logits it stands for") {
  Problem<double> p(3, 6, 2);
  Problem<double> q = p;
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t c = 0; c < 6; ++c)
      q.teacher[6 * r + c] = std::log(c == static_cast<std::size_t>(p.labels[r]) ? 0.9 : 0.1 / 5);
  CHECK(p.value(VirtualTeacher<BatchMean, TSquared>{.temperature = 4, .correct = 0.9}) ==
        doctest::Approx(q.value(SoftTargets{.temperature = 4})).epsilon(value_tolerance<double>));
  for (std::size_t r = 0; r < 3; ++r)  // as published: probabilities as logits, the student untempered
    for (std::size_t c = 0; c < 6; ++c) q.teacher[6 * r + c] = (c == static_cast<std::size_t>(p.labels[r]) ? 0.99 : 0.01 / 5) / 20;
  CHECK(p.value(VirtualTeacherAsPublished<ElementMean>{}) ==
        doctest::Approx(q.value(ForwardKl<ElementMean, NoTSquared>{})).epsilon(value_tolerance<double>));
}

TEST_CASE("the confidence penalty is minus the entropy: lowest at the uniform distribution") {
  Problem<double> p(2, 5);
  std::fill(p.student.begin(), p.student.end(), 3.);
  CHECK(p.evaluate(ConfidencePenalty<BatchMean>{.weight = 1}) == doctest::Approx(-std::log(5.)).epsilon(value_tolerance<double>));
  CHECK(max_abs(p.d_student) <= 1e-15);
}
