#pragma once
// DiSK's loss: Kag, Acar, Gangrade & Saligrama, "Scaffolding a Student to Instill Knowledge", ICLR 2023. A gate g(x) in
// [0, 1], learned by censor::Guide, adds to the student's probabilities of the hinted classes, so that what a small
// student cannot follow pulls less on it.

#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/evaluate.hpp>
#include <retort/loss/forward_kl.hpp>
#include <retort/loss/top_classes.hpp>

namespace retort::loss {

/// The row part: weight * T_s * T_t * sum over H of -tt_y log(p_y + g), with p = softmax(s / T_s). H: the teacher's top K
/// classes and the label. tt: the softmax over all classes of u, u = t / T_t on H and the row's smallest t (undivided, as
/// in the authors' code) off H; mass off H is dropped, not redistributed. The constant entropy of tt is left out.
///
/// With r_y = p_y / (p_y + g): gradient to the student, weight * T_t * (p_j sum tt r - tt_j r_j); to the gate,
/// -weight * T_s * T_t * sum tt / (p + g). At g = 0, r = 1 even where p underflows.
///
/// Extras of a row: g, then the three numbers of select_top. Evaluate it through Scaffolded, which fills them in.
struct ScaffoldedHint {
  double temperature = 3.5;        ///< T_s > 0
  double teacher_temperature = 4;  ///< T_t > 0
  double weight = 0.9;

  using reduction = BatchMean;
  static constexpr RowNeeds needs{.teacher = true, .labels = true, .student_softmax = true, .teacher_softmax = true, .extras = 4};
  static constexpr const char* name = "ScaffoldedHint";

  /// weight * T_s * T_t, the factor before the sum: the scale that the partition term of the penalty must share.
  double scale() const { return weight * temperature * teacher_temperature; }

  /// Over H, with w the teacher's softmax over all classes: sum w log(p + g), sum w, |H|, sum w r, sum w / (p + g).
  template <class V>
  struct Acc {
    V hint, mass, count, pull, slope;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0), V(0), V(0), V(0), V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    using namespace math;
    const V w = hinted(c, c.teacher.p), p = floored(c), helped = p + V(c.extra[0]);
    return {a.hint + w * log(helped), a.mass + w, a.count + hinted(c, V(1)), a.pull + w * p / helped, a.slope + w / helped};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.hint + b.hint, a.mass + b.mass, a.count + b.count, a.pull + b.pull, a.slope + b.slope};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>& row) const {
    return -factor(a, row) * a.hint;
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(Acc<T> a, const BasicCell<V>& c) const {
    const V p = floored(c), r = p / (p + V(c.extra[0]));
    return {factor(a, c.row) / c.row.temperature, c.student.p * V(a.pull) - hinted(c, c.teacher.p) * r};
  }
  template <class T>
  RETORT_HD T extra_grad(int k, Acc<T> a, const Row<T>& row) const {
    return k == 0 ? -factor(a, row) * a.slope : T(0);
  }

 private:
  /// `value` for the classes of H, 0 for the others.
  template <class V>
  RETORT_HD V hinted(const BasicCell<V>& c, V value) const {
    using namespace math;
    return select(detail::in_top(c, 1) | c.is_label, value, V(0));
  }
  /// The logarithm's argument stays a normal number, also in float, and so do the slopes' sums.
  template <class V>
  RETORT_HD V floored(const BasicCell<V>& c) const {
    using namespace math;
    return max(c.student.p, V(typename BasicCell<V>::scalar(1e-30)));
  }
  /// scale() over the normaliser of tt, whose off-H part is counted, not swept.
  template <class T>
  RETORT_HD T factor(Acc<T> a, const Row<T>& row) const {
    using namespace math;
    const T off = (T(row.classes) - a.count) * exp(min(row.extra[3] - row.teacher.log_sum, T(80)));
    return T(weight) * row.temperature * T(teacher_temperature) / (a.mass + off);
  }
};

/// Help on the teacher's `count` most likely classes and the label.
struct TopClasses {
  index_t count = 10;
  /// Throws value_error unless 1 <= count <= classes.
  index_t of(index_t classes) const { return detail::top_count("ScaffoldedSoftTargets (.help)", count, classes); }
};
/// Help on all classes, as on the authors' poster.
struct AllClasses {
  index_t of(index_t classes) const { return classes; }
};

/// The hint, cross-entropy with the labels at temperature one and, where its weight is not 0, ordinary soft targets, in
/// one pass over the logits. The gate is `exchange.extras`, N x 1; without one g = 0, and the hint is a cross-entropy with
/// soft targets. Throws shape_error when the gate has another shape, value_error when K exceeds the number of classes.
template <class Help>
struct Scaffolded {
  Help help{};
  ScaffoldedHint hint{};
  CrossEntropy<BatchMean> hard{.weight = 0.1};
  SoftTargets soft{.temperature = 4, .weight = 0};

  template <class E>
  auto evaluate(E& exchange) const {
    return soft.weight == 0 ? run(Sum{hint, hard}, exchange) : run(Sum{hint, hard, soft}, exchange);
  }
  /// The part that depends on the gate: what a guide minimises.
  template <class E>
  auto evaluate_gated(E& exchange) const {
    return run(hint, exchange);
  }

 private:
  template <class Rows, class E>
  auto run(const Rows& rows, E& exchange) const {
    auto& tape = exchange.tape;
    const auto student = result_of(exchange.student), teacher = result_of(exchange.teacher);
    using T = typename decltype(exchange.extras)::value_type;
    using B = typename std::remove_reference_t<decltype(tape)>::backend_type;
    const Shape<2> column{student.extent(0), 1};
    require<shape_error>(teacher.shape() == student.shape(), "ScaffoldedSoftTargets: student logits have shape ", to_string(student.shape()),
                         ", teacher logits have shape ", to_string(teacher.shape()));
    require<shape_error>(!exchange.extras.value.data || exchange.extras.shape() == column, "ScaffoldedSoftTargets: expected a gate of shape ",
                         to_string(column), ", got ", to_string(exchange.extras.shape()));
    auto gate = exchange.extras;
    if (!gate.value.data) {
      const View<T, 2> none = tape.allocate(column);
      Kernels<B>::fill(tape.backend(), T(0), none);
      gate = tape.constant(none);
    }
    const View<T, 2> top = tape.allocate(Shape<2>{student.extent(0), 3});
    Kernels<B>::select_top(tape.backend(), teacher.value, help.of(teacher.extent(1)), top);
    return row_loss(tape, rows,
                    RowLossInputs<T>{.student = student,
                                     .teacher = tape.detach(teacher),
                                     .labels = exchange.labels,
                                     .mask = exchange.mask,
                                     .weights = exchange.weights,
                                     .temperatures = exchange.temperatures,
                                     .extras = concat(tape, gate, tape.constant(top))});
  }
};

/// Help on the teacher's top K and the label: DiSK's code.
using ScaffoldedSoftTargets = Scaffolded<TopClasses>;
/// Help on all classes: DiSK's poster, -sum_y t_y log(s_y + g).
using ScaffoldedPoster = Scaffolded<AllClasses>;

}  // namespace retort::loss
