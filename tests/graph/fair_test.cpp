#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/fair/group_gap.hpp>
#include <retort/fair/metrics.hpp>
#include <retort/loss/graph_knowledge.hpp>
#include <retort/method/roles.hpp>

#include "graph/small_graphs.hpp"
#include "support.hpp"

using namespace retort;
using Tol = test::tolerance<double>;

namespace {

/// Six nodes of the specification: probabilities of class 1, group, label.
struct Six {
  Six(const Six&) = delete;
  Tensor<double, 2> logits{Shape{6, 2}};
  std::vector<std::int32_t> sensitive{0, 0, 0, 1, 1, 1}, labels{1, 1, 0, 1, 0, 1};
  std::vector<std::uint8_t> train = std::vector<std::uint8_t>(6, 0);
  GraphView<double> graph;
  Six() {
    const double q[] = {.9, .6, .4, .3, .8, .1};
    for (index_t i = 0; i < 6; ++i) logits(i, 1) = std::log(q[i] / (1 - q[i]));
    graph.sensitive = {sensitive.data(), {6}};
    graph.train = {train.data(), {6}};
  }
  template <class Gap>
  auto measure(const Gap& gap, Tape<double, Cpu>& tape, Var<double, 2> z, Var<double, 2> teacher = {}) {
    using V = Var<double, 2>;
    Exchange<double, Cpu, V, V, V> e{tape, z, {labels.data(), {6}}, {}, z, teacher};
    e.graph = &graph;
    return gap.evaluate(e);
  }
};

template <class Phi>
double phi(Phi f, double s) { return f.value(s); }

}  // namespace

TEST_CASE("squash policies: the tables, symmetry, monotony, derivatives") {
  const double at[] = {0, .1, .3, .4, .5, .6, .8, .9, 1}, raw[] = {.0742, .1205, .2327, .3276, .5, .6724, .8216, .8795, .9258},
               normalised[] = {-.123, -.0467, -.0408, -.0281, .5, 1.0281, .9485, 1.0467, 1.123};
  const fair::LegendreRaw r;
  const fair::LegendreNormalized n;
  for (int i = 0; i < 9; ++i) {
    CHECK(std::abs(phi(r, at[i]) - raw[i]) < 5.1e-5);         // the table's four digits
    CHECK(std::abs(phi(n, at[i]) - normalised[i]) < 5.1e-4);  // three
    CHECK(phi(r, 1 - at[i]) == doctest::Approx(1 - phi(r, at[i])));
    CHECK(phi(n, 1 - at[i]) == doctest::Approx(1 - phi(n, at[i])));
  }
  for (double s = 0; s < 1; s += 0.01) CHECK(phi(r, s + 0.01) > phi(r, s));
  Cpu cpu;
  auto x = test::randn(Shape{20}, 3, 0.3);
  const auto check = [&](auto f) { CHECK(grad_check(cpu, [&](auto& t, auto v) { return sum(t, activate(t, f, v)); }, x).error < Tol::gradient); };
  check(r), check(n), check(fair::Identity{}), check(fair::Steep{});
}

TEST_CASE("group gap: the specification's values, gradients, errors") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Six six;
  const auto z = tape.constant(View<const double, 2>(six.logits.view()));
  CHECK(tape.item(six.measure(fair::GroupGap<>{.alpha = 1}, tape, z)) == doctest::Approx(.1103816).epsilon(1e-6));
  CHECK(tape.item(six.measure(fair::GroupGap<fair::LegendreRaw, fair::EqualOpportunity>{.alpha = 1}, tape, z)) == doctest::Approx(.7185492).epsilon(1e-6));
  CHECK(tape.item(six.measure(fair::GroupGap<>{.alpha = 1000}, tape, z)) == doctest::Approx(110.3816).epsilon(1e-6));
  auto logits = six.logits.clone();
  CHECK(grad_check(cpu, [&](auto& t, auto v) { return six.measure(fair::GroupGap<fair::LegendreRaw, fair::StatisticalParity>{.alpha = 3}, t, v); }, logits).error < Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto v) { return six.measure(fair::GroupGap<fair::Steep, fair::EqualOpportunity>{.alpha = 3}, t, v); }, logits).error < Tol::gradient);
  // Unknown labels: the teacher's answer decides. It says class 1 where the label did, so J is the same.
  Tensor<double, 2> teacher(Shape{6, 2});
  for (index_t i = 0; i < 6; ++i) teacher(i, 1) = six.labels[static_cast<std::size_t>(i)] == 1 ? 1 : -1;
  six.labels.assign(6, ignored_label);
  CHECK(tape.item(six.measure(fair::GroupGap<fair::LegendreRaw, fair::EqualOpportunity>{.alpha = 1}, tape, z, tape.constant(View<const double, 2>(teacher.view())))) ==
        doctest::Approx(.7185492).epsilon(1e-6));
  // The published code's leak sees labels that training does not know, whatever the teacher says.
  const std::vector<std::int32_t> truth{1, 1, 0, 1, 0, 1};
  six.graph.truth = {truth.data(), {6}};
  std::fill(teacher.begin(), teacher.end(), 0.);
  CHECK(tape.item(six.measure(fair::GroupGap<fair::LegendreRaw, fair::LeakedOpportunity>{.alpha = 1}, tape, z, tape.constant(View<const double, 2>(teacher.view())))) ==
        doctest::Approx(.7185492).epsilon(1e-6));
  CHECK_THROWS_WITH_AS(six.measure(fair::GroupGap<fair::LegendreRaw, fair::StatisticalParity, fair::TrainRows>{}, tape, z),
                       "fair::GroupGap: group s = 0 is empty among the rows that count", value_error);
  six.graph.sensitive = {};
  CHECK_THROWS_AS(six.measure(fair::GroupGap<>{}, tape, z), value_error);
}

TEST_CASE("fairness metrics: by hand, any classifier; an empty group is NaN") {
  Six six;
  const View<const std::int32_t, 1> y{six.labels.data(), {6}}, s{six.sensitive.data(), {6}};
  const auto r = fair::group_report(six.logits, y, s);
  CHECK(r.delta_sp() == doctest::Approx(1. / 3));
  CHECK(r.delta_eo() == doctest::Approx(1));
  CHECK(r.accuracy[0] == 1);
  CHECK(r.accuracy[1] == 0);
  CHECK(r.base_rate_gap() == 0);
  CHECK(fair::balanced_accuracy(six.logits, y) == doctest::Approx(0.5));
  // positives .9 .6 .3 .1 against negatives .4 .8: of eight pairs .9 wins two, .6 one
  CHECK(fair::auc(six.logits, y) == doctest::Approx(3. / 8));
  Tensor<double, 2> flat(Shape{6, 2});
  CHECK(fair::auc(flat, y) == doctest::Approx(0.5));
  six.sensitive.assign(6, 1);
  const auto empty = fair::group_report(six.logits, y, s);
  CHECK(std::isnan(empty.delta_sp()));
  CHECK(std::isnan(empty.accuracy[0]));
  CHECK(empty.accuracy[1] == doctest::Approx(0.5));
  six.sensitive[0] = 2;
  CHECK_THROWS_AS(fair::group_report(six.logits, y, s), value_error);
  CHECK_THROWS_AS(fair::group_report(six.logits, y, View<const std::int32_t, 1>{six.sensitive.data(), {5}}), shape_error);
}

TEST_CASE("CPF and GraphAKD: values by hand, gradients") {
  Cpu cpu;
  Six six;
  six.train = {1, 0, 0, 0, 0, 1};
  six.labels = {1, ignored_label, ignored_label, ignored_label, ignored_label, 0};
  auto teacher = test::randn(Shape{6, 2}, 1), student = test::randn(Shape{6, 2}, 2);
  const auto run = [&](const auto& loss, auto& tape, auto z) { return six.measure(loss, tape, z, tape.constant(View<const double, 2>(teacher.view()))); };
  CHECK(grad_check(cpu, [&](auto& t, auto z) { return run(loss::CpfKnowledge{}, t, z); }, student).error < Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto z) { return run(loss::CpfKnowledge{.mean_square = true}, t, z); }, student).error < Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto z) { return run(loss::GraphAkdKnowledge{}, t, z); }, student).error < Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto z) { return run(loss::GraphAkdKnowledge{.raw_student = true}, t, z); }, student).error < Tol::gradient);
  Tape<double, Cpu> tape(cpu);
  const auto p = [](const Tensor<double, 2>& z, index_t i) { return 1 / (1 + std::exp(z(i, 0) - z(i, 1))); };
  double square = 0;
  for (index_t i = 1; i < 5; ++i) square += 2 * std::pow(p(student, i) - p(teacher, i), 2);
  const auto z = tape.constant(View<const double, 2>(student.view()));
  CHECK(tape.item(run(loss::CpfKnowledge{}, tape, z)) == doctest::Approx(std::sqrt(square)));
  CHECK(tape.item(run(loss::CpfKnowledge{.mean_square = true}, tape, z)) == doctest::Approx(square / 4));
}
