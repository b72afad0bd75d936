// The relational KL and the supervised contrastive loss: against their formulas written out, by differences, and at their edges.
#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/reverse_kl.hpp>
#include <retort/loss/supervised_contrastive.hpp>

#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::loss;

namespace {

constexpr double exact = ::test::tolerance<double>::value;
using Table = std::vector<std::vector<double>>;

Table unit_rows(const Tensor<double, 2>& x) {
  Table out;
  for (index_t i = 0; i < x.extent(0); ++i) {
    double square = 0;
    for (index_t d = 0; d < x.extent(1); ++d) square += x(i, d) * x(i, d);
    out.emplace_back();
    for (index_t d = 0; d < x.extent(1); ++d) out.back().push_back(x(i, d) / std::sqrt(square));
  }
  return out;
}
/// softmax_j(a_i . b_j / t); without the diagonal if so asked.
Table relation(const Table& a, const Table& b, double t, bool self) {
  Table out;
  for (std::size_t i = 0; i < a.size(); ++i) {
    out.emplace_back(b.size());
    double total = 0;
    for (std::size_t j = 0; j < b.size(); ++j) {
      double dot = 0;
      for (std::size_t d = 0; d < a[i].size(); ++d) dot += a[i][d] * b[j][d];
      if (self || i != j) total += out[i][j] = std::exp(dot / t);
    }
    for (double& p : out[i]) p /= total;
  }
  return out;
}
double kl(const Table& q, const Table& p) {
  double sum = 0;
  for (std::size_t i = 0; i < q.size(); ++i)
    for (std::size_t j = 0; j < q[i].size(); ++j)
      if (q[i][j] > 0) sum += q[i][j] * std::log(q[i][j] / p[i][j]);
  return sum / static_cast<double>(q.size());
}
template <class Loss>
double value(const Loss& loss, const Tensor<double, 2>& s, const Tensor<double, 2>& t) {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  return tape.item(loss(tape, tape.constant(s.view()), tape.constant(t.view())));
}
template <class Loss>
double gradient_error(const Loss& loss, const Tensor<double, 2>& s, const Tensor<double, 2>& t) {
  Cpu cpu;
  auto moved = s.clone();
  return grad_check(cpu, [&](auto& tape, auto x) { return loss(tape, x, tape.constant(t.view())); }, moved).error;
}

}  // namespace

TEST_CASE("relational KL: the formula, the other direction, without the diagonal, raw products; gradients by differences") {
  const auto s = ::test::randn(Shape{6, 4}, 1), t = ::test::randn(Shape{6, 4}, 2);
  const Table x = unit_rows(s), z = unit_rows(t);
  for (const double tau : {0.1, 0.7}) {
    const Table q = relation(z, z, tau, true), p = relation(x, z, tau, true);
    for (std::size_t i = 0; i < 6; ++i) {
      double sum = 0;
      for (const double v : q[i]) sum += v;
      CHECK(sum == doctest::Approx(1).epsilon(exact));
    }
    CHECK(value(RelationalKl<>{tau}, s, t) == doctest::Approx(kl(q, p)).epsilon(exact));
    CHECK(value(RelationalKl<ReverseKl<BatchMean, NoTSquared>>{tau}, s, t) == doctest::Approx(kl(p, q)).epsilon(exact));
    using Apart = RelationalKl<ForwardKl<BatchMean, NoTSquared>, WithoutSelf>;
    CHECK(value(Apart{tau}, s, t) == doctest::Approx(kl(relation(z, z, tau, false), relation(x, z, tau, false))).epsilon(exact));
    CHECK(gradient_error(RelationalKl<>{tau}, s, t) < ::test::tolerance<double>::gradient);
    CHECK(gradient_error(RelationalKl<ReverseKl<BatchMean, NoTSquared>>{tau}, s, t) < ::test::tolerance<double>::gradient);
    CHECK(gradient_error(Apart{tau}, s, t) < ::test::tolerance<double>::gradient);
  }
  using Raw = RelationalKl<ForwardKl<BatchMean, NoTSquared>, WithSelf, InnerProduct>;
  Table xs, zs;
  for (index_t i = 0; i < 6; ++i) xs.emplace_back(s.view().row(i), s.view().row(i) + 4), zs.emplace_back(t.view().row(i), t.view().row(i) + 4);
  CHECK(value(Raw{0.7}, s, t) == doctest::Approx(kl(relation(zs, zs, 0.7, true), relation(xs, zs, 0.7, true))).epsilon(exact));
  CHECK(gradient_error(Raw{0.7}, s, t) < ::test::tolerance<double>::gradient);
}

TEST_CASE("relational KL: no less than 0; 0 with zero gradient where the student embeds as the teacher; one sample gives 0") {
  const auto t = ::test::randn(Shape{5, 3}, 3);
  Cpu cpu;
  for (const std::uint64_t seed : {4, 5, 6}) CHECK(value(RelationalKl<>{0.2}, ::test::randn(Shape{5, 3}, seed), t) > 0);
  Tape<double, Cpu> tape(cpu);
  const auto x = tape.leaf(View<const double, 2>(t.view()));
  const auto same = RelationalKl<>{0.2}(tape, x, tape.constant(t.view()));
  CHECK(std::abs(tape.item(same)) < exact);
  tape.backward(same);
  for (const double g : tape.gradient(x)) CHECK(std::abs(g) < exact);

  tape.reset();
  const auto one = tape.leaf(View<const double, 2>(t.view()).rows(0, 1));
  const auto alone = RelationalKl<>{0.2}(tape, one, tape.constant(t.view().rows(1, 2)));
  CHECK(tape.item(alone) == 0);
  tape.backward(alone);
  for (const double g : tape.gradient(one)) CHECK(g == 0);

  const auto wide = ::test::randn(Shape{5, 4}, 1);
  CHECK(::test::message_of<shape_error>([&] { value(RelationalKl<>{}, wide, t); }).find("shape (5, 4)") != std::string::npos);
  CHECK_THROWS_AS(value(RelationalKl<>{0}, t, t), value_error);
}

TEST_CASE("supervised contrast: the formula, its reductions, gradients by differences, through a linear head too") {
  const auto rows = ::test::randn(Shape{7, 3}, 1);
  const std::vector<std::int32_t> y{0, 1, 0, 2, 1, 0, 1};  // the fourth sample has no positive
  const View<const std::int32_t, 1> labels{y.data(), {7}};
  const double tau = 0.3;
  const Table z = unit_rows(rows), p = relation(z, z, tau, false);
  double expected = 0;
  for (std::size_t i = 0; i < 7; ++i) {
    double sum = 0, count = 0;
    for (std::size_t j = 0; j < 7; ++j)
      if (i != j && y[i] == y[j]) sum -= std::log(p[i][j]), ++count;
    if (count > 0) expected += sum / count;
  }
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto constant = tape.constant(rows.view());
  CHECK(tape.item(SupervisedContrastive<>{tau}(tape, constant, labels)) == doctest::Approx(expected).epsilon(exact));
  CHECK(tape.item(SupervisedContrastive<MeanOverAnchors>{tau}(tape, constant, labels)) == doctest::Approx(expected / 6).epsilon(exact));
  CHECK(tape.item(SupervisedContrastive<>{tau, 0.5}(tape, constant, labels)) == doctest::Approx(expected / 2).epsilon(exact));

  auto moved = rows.clone();
  CHECK(grad_check(cpu, [&](auto& t, auto x) { return SupervisedContrastive<>{tau}(t, x, labels); }, moved).error < ::test::tolerance<double>::gradient);
  auto w = ::test::randn(Shape{5, 3}, 2), h = ::test::randn(Shape{7, 5}, 3);
  CHECK(grad_check(cpu, [&](auto& t, auto hidden, auto weight) { return SupervisedContrastive<MeanOverAnchors>{tau}(t, matmul(t, hidden, weight), labels); }, h, w).error <
        ::test::tolerance<double>::gradient);
}

TEST_CASE("supervised contrast: batches without positives, of one class, of one sample are finite; errors") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto rows = ::test::randn(Shape{3, 4}, 1);
  const auto at = [&](std::vector<std::int32_t> y) {
    const auto n = static_cast<index_t>(y.size());
    return tape.item(SupervisedContrastive<>{0.1}(tape, tape.constant(rows.view().rows(0, n)), {y.data(), {n}}));
  };
  CHECK(at({0, 1, 2}) == 0);
  CHECK(at({4}) == 0);
  CHECK(is_finite(at({1, 1, 1})));
  CHECK(at({1, 1, 1}) > 0);
  CHECK(at({1, 1}) == doctest::Approx(0).epsilon(exact));  // the positive is the only other sample
  const std::vector<std::int32_t> two{0, 1};
  CHECK(::test::message_of<shape_error>([&] { SupervisedContrastive<>{}(tape, tape.constant(rows.view()), {two.data(), {2}}); }).find("expected 3 labels, got 2") !=
        std::string::npos);
  CHECK_THROWS_AS((SupervisedContrastive<>{-1}(tape, tape.constant(rows.view().rows(0, 2)), {two.data(), {2}})), value_error);
}
