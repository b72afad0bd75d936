#pragma once

#include <retort/autograd/ops_graph.hpp>
#include <retort/functor/distance.hpp>
#include <retort/loss/evaluate.hpp>

namespace retort::loss {

/// Local structure preserving (Yang et al. 2020, "Distilling Knowledge from Graph Convolutional Networks", LSP): at each node the
/// student's features are as near to those of its neighbours as the teacher's are, relative to each other:
///   weight * mean_v KL(softmax_u K(t_u, t_v) || softmax_u K(s_u, s_v)), K(a, b) = -|a - b|^2 / (2 sigma^2),
/// over what v hears (itself included). Features: taps of any widths. On graphs only.
template <class Tag, class TeacherTag = Tag>
struct LocalStructure {
  double weight = 1;
  double sigma = 1;

  /// Throws value_error when the batch has no graph.
  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    require<value_error>(exchange.graph != nullptr, "loss::LocalStructure: the batch has no graph");
    const CsrView& edges = exchange.graph->edges;
    const auto student = similarities(tape, edges, tap<Tag>(exchange.student));
    const auto teacher = similarities(tape, edges, tape.detach(tap<TeacherTag>(exchange.teacher)));
    using T = typename decltype(student.value)::value_type;
    // sum t (log t - log s) over the entries; both are softmaxes, kept above the smallest number that has a logarithm
    const auto log_of = [&](auto p) { return activate(tape, functor::Log{}, add_constant(tape, p, T(1e-12))); };
    const auto terms = multiply(tape, teacher, subtract(tape, log_of(teacher), log_of(student)));
    return scale(tape, static_cast<T>(weight / static_cast<double>(edges.rows)), sum(tape, terms));
  }

 private:
  template <class T, class B>
  Var<T, 2> similarities(Tape<T, B>& tape, const CsrView& edges, Var<T, 2> x) const {
    const T factor = static_cast<T>(1 / (2 * sigma * sigma));
    const auto squares = scale(tape, -factor, sum_axis(tape, multiply(tape, x, x), 1));
    const auto exponent = add(tape, edge_sums(tape, edges, squares, squares), scale(tape, 2 * factor, edge_products(tape, edges, x, x)));
    return edge_softmax(tape, edges, exponent);
  }
};

}  // namespace retort::loss
