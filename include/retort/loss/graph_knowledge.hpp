#pragma once
// What the students of CPF and GraphAKD are told by their graph teachers.

#include <retort/autograd/ops_matrix.hpp>
#include <retort/fair/group_gap.hpp>
#include <retort/functor/distance.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/evaluate.hpp>

namespace retort::loss {

/// CPF (Yang et al. 2021): over the nodes not trained on, sqrt(sum_i |softmax(s_i) - softmax(t_i)|^2), un-squared and not divided (as
/// RELIANT runs it), or with `mean_square` the mean of the squared distances, whose size does not depend on the graph's.
struct CpfKnowledge {
  bool mean_square = false;
  double weight = 1;
  using student_rows = fair::OtherRows;  ///< where RELIANT measures the student's gap
  using player_rows = fair::OtherRows;   ///< and its opponent's

  /// Throws value_error when the batch has no graph.
  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    require<value_error>(exchange.graph != nullptr, "loss::CpfKnowledge: the batch has no graph");
    const auto student = softmax(tape, result_of(exchange.student)), teacher = softmax(tape, tape.detach(result_of(exchange.teacher)));
    using T = typename decltype(student.value)::value_type;
    const View<T, 2> counts = tape.allocate(Shape<2>{student.extent(0), 1});
    T rows = 0;
    for (index_t i = 0; i < counts.size(); ++i) rows += counts.data[i] = student_rows::has(*exchange.graph, i) ? T(1) : T(0);
    const auto difference = multiply(tape, subtract(tape, student, teacher), tape.constant(counts));
    const auto square = sum(tape, multiply(tape, difference, difference));
    if (mean_square) return scale(tape, static_cast<T>(weight) / std::max(rows, T(1)), square);
    return scale(tape, static_cast<T>(weight), activate(tape, functor::Sqrt{1e-12}, square));
  }
};

/// The part of GraphAKD (He et al. 2022, "Compressing Deep Graph Neural Networks via Adversarial Knowledge Distillation") beside
/// its discriminators: mean CE(s, y) over the training nodes + (1/n) sum |s - t|, on log-softmaxes of both (RELIANT's code takes
/// the student's raw logits against the teacher's log-softmax: `raw_student`).
struct GraphAkdKnowledge {
  bool raw_student = false;
  using student_rows = fair::TrainRows;
  using player_rows = fair::AllRows;

  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    const auto logits = result_of(exchange.student);
    using T = typename decltype(logits)::value_type;
    const auto student = raw_student ? logits : log_softmax(tape, logits);
    const auto gap = activate(tape, functor::Magnitude{}, subtract(tape, student, log_softmax(tape, tape.detach(result_of(exchange.teacher)))));
    return add(tape, loss::evaluate(CrossEntropy<TokenMean>{}, exchange), scale(tape, T(1) / static_cast<T>(logits.extent(0)), sum(tape, gap)));
  }
};

}  // namespace retort::loss
