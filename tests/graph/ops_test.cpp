#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/autograd/ops_graph.hpp>
#include <retort/autograd/ops_matrix.hpp>
#include <retort/backend/cpu_kernels.hpp>

#include "graph/small_graphs.hpp"
#include "support.hpp"

using namespace retort;
using Tol = test::tolerance<double>;

TEST_CASE("graph operations: gradients") {
  Cpu cpu;
  const test::SmallGraph g(false);  // directed, a node without edges
  const CsrView& edges = g.view.edges;
  auto x = test::randn(Shape{7, 6}, 1), y = test::randn(Shape{7, 6}, 2), w = test::randn(Shape{edges.entries, 2}, 3), s = test::randn(Shape{7, 2}, 4),
       r = test::randn(Shape{7, 2}, 5), c = test::randn(Shape{7, 6}, 6);
  const auto weigh = [&](auto& tape, auto v) {  // a scalar in which every entry has a factor of its own
    const View<double, 2> factor = tape.allocate(v.shape());
    Rng rng(11);
    for (double& f : factor) f = rng.normal();
    return sum(tape, multiply(tape, tape.constant(factor), v));
  };
  for (const Norm norm : {Norm::symmetric, Norm::mean, Norm::sum, Norm::with_self}) {
    CAPTURE(static_cast<int>(norm));
    CHECK(grad_check(cpu, [&](auto& t, auto v) { return weigh(t, propagate(t, g.view, norm, v)); }, x).error < Tol::gradient);
  }
  CHECK(grad_check(cpu, [&](auto& t, auto a, auto v) { return weigh(t, propagate(t, edges, a, v)); }, w, x).error < Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto a, auto b) { return weigh(t, edge_products(t, edges, a, b, 2)); }, x, y).error < Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto a) { return weigh(t, edge_products(t, edges, a, a)); }, x).error < Tol::gradient);
  auto d = test::randn(Shape{1, 6}, 12);  // the edge discriminator's score: products of rows of norm 1
  CHECK(grad_check(cpu, [&](auto& t, auto a, auto b) { return weigh(t, edge_products(t, edges, normalized(t, a, 1), multiply(t, normalized(t, a, 1), b))); }, x, d).error <
        Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto a, auto b) { return weigh(t, edge_sums(t, edges, a, b)); }, s, r).error < Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto a) { return weigh(t, edge_softmax(t, edges, edge_sums(t, edges, a))); }, s).error < Tol::gradient);
  auto one = test::randn(Shape{edges.entries, 1}, 8);
  CHECK(grad_check(cpu, [&](auto& t, auto a) { return weigh(t, edge_softmax(t, edges, a)); }, one).error < Tol::gradient);
  const std::int32_t ptr[] = {0, 3, 3, 7};
  const View<const std::int32_t, 1> segments{ptr, {4}};
  CHECK(grad_check(cpu, [&](auto& t, auto a) { return weigh(t, segment_sum(t, segments, a)); }, x).error < Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto a) { return weigh(t, segment_mean(t, segments, a)); }, x).error < Tol::gradient);
  CHECK(grad_check(cpu, [&](auto& t, auto a) { return weigh(t, segment_max(t, segments, a)); }, x).error < Tol::gradient);
  const std::int32_t index[] = {4, 0, 4, 2, 1, 1, 5};
  CHECK(grad_check(cpu, [&](auto& t, auto a) { return weigh(t, scatter_rows(t, a, View<const std::int32_t, 1>{index, {7}}, 6)); }, x).error < Tol::gradient);
  auto weights = test::randn(Shape{7, 3}, 9);
  auto bias = test::randn(Shape{3}, 10);
  CHECK(grad_check(cpu, [&](auto& t, auto a, auto b) { return weigh(t, sparse_linear(t, edges, g.view.weights(Norm::mean), a, b)); }, weights, bias).error < Tol::gradient);
}

TEST_CASE("graph operations: values, by hand") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  // 0 - 1 - 2, and 3 alone.
  const graph::Edge list[] = {{0, 1}, {1, 2}};
  graph::Topology<double> topology;
  const graph::Range all[] = {{0, 4}};
  topology.assign(graph::Adjacency(4, list), all);
  const auto& g = topology.view();
  Tensor<double, 2> x(Shape{4, 1});
  for (index_t i = 0; i < 4; ++i) x(i, 0) = static_cast<double>(1 + i);
  const auto value = [&](Norm norm, index_t v) { return propagate(tape, g, norm, tape.constant(View<const double, 2>(x.view()))).value(v, 0); };
  CHECK(value(Norm::mean, 1) == doctest::Approx(2));
  CHECK(value(Norm::mean, 3) == 0);  // hears nobody
  CHECK(value(Norm::sum, 1) == doctest::Approx(4));
  CHECK(value(Norm::with_self, 1) == doctest::Approx(2));
  CHECK(value(Norm::with_self, 3) == doctest::Approx(4));
  CHECK(value(Norm::symmetric, 0) == doctest::Approx(1. / 2 + 2 / std::sqrt(6.)));
  CHECK(value(Norm::symmetric, 3) == doctest::Approx(4));
  // A graph that holds its loops: the mean counts them, "gcn" counts them twice, the symmetric one once.
  topology.assign(graph::Adjacency(4, list, {.loops = true}), all);
  CHECK(value(Norm::mean, 0) == doctest::Approx(1.5));
  CHECK(value(Norm::with_self, 0) == doctest::Approx((1 + 1 + 2) / 3.));
  CHECK(value(Norm::symmetric, 0) == doctest::Approx(1. / 2 + 2 / std::sqrt(6.)));
  const auto scores = edge_softmax(tape, g.edges, edge_sums(tape, g.edges, tape.constant(View<const double, 2>(x.view()))));
  const double e = std::exp(1);
  CHECK(scores.value(0, 0) == doctest::Approx(1 / (1 + e)));
  CHECK(scores.value(1, 0) == doctest::Approx(e / (1 + e)));
  const std::int32_t ptr[] = {0, 0, 4};
  const auto pooled = segment_max(tape, View<const std::int32_t, 1>{ptr, {3}}, tape.constant(View<const double, 2>(x.view())));
  CHECK(pooled.value(0, 0) == 0);  // a segment without rows
  CHECK(pooled.value(1, 0) == 4);
}

TEST_CASE("graph operations: wide rows take the vector path and agree with a plain loop") {
  Cpu cpu(2);
  const test::SmallGraph g(true);
  for (const index_t width : {1, 2, 3, 8, 15, 16, 17, 40, 64, 129}) {
    auto x = test::randn<float>(Shape{7, width}, 1);
    Tape<float, Cpu> tape(cpu);
    const auto y = propagate(tape, g.view_f, Norm::symmetric, tape.constant(View<const float, 2>(x.view())));
    double worst = 0;
    for (index_t v = 0; v < 7; ++v)
      for (index_t c = 0; c < width; ++c) {
        double expected = 0;
        for (std::int32_t e = g.view.edges.ptr[v]; e < g.view.edges.ptr[v + 1]; ++e) expected += g.view.weights(Norm::symmetric)[e] * static_cast<double>(x(g.view.edges.col[e], c));
        worst = std::max(worst, std::abs(expected - static_cast<double>(y.value(v, c))));
      }
    CAPTURE(width);
    CHECK(worst < test::tolerance<float>::value);
  }
}

TEST_CASE("graph operations: errors") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const test::SmallGraph g(true);
  auto x = test::randn(Shape{6, 4}, 1);
  const auto v = tape.constant(View<const double, 2>(x.view()));
  CHECK_THROWS_WITH_AS(propagate(tape, g.view, Norm::mean, v), "propagate: values of shape (6, 4) for a graph of 7 nodes", shape_error);
  CHECK_THROWS_AS(edge_softmax(tape, g.view.edges, v), shape_error);
  const std::int32_t ptr[] = {0, 5};
  CHECK_THROWS_AS(segment_sum(tape, View<const std::int32_t, 1>{ptr, {2}}, v), shape_error);
  const std::int32_t index[] = {0, 1, 2, 3, 4, 9};
  CHECK_THROWS_AS(scatter_rows(tape, v, View<const std::int32_t, 1>{index, {6}}, 6), value_error);
}
