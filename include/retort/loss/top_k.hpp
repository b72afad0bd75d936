#pragma once
// Forward KL over the teacher's most likely classes only: what is left of it when a cache stores the top k log-probabilities.

#include <retort/loss/evaluate.hpp>
#include <retort/loss/forward_kl.hpp>
#include <retort/loss/top_classes.hpp>

namespace retort::loss {

/// What lies outside the top k contributes nothing. Not a divergence: it can be negative, and s = t is no minimum.
struct ZeroTail {
  static constexpr bool kept = false;
};
/// What lies outside the top k counts as one class of its own, m_t log(m_t / m_s): a divergence again.
struct UniformTail {
  static constexpr bool kept = true;
};

/// The row part of TopKForwardKl; extras of a row: the three numbers of select_top.
template <class Tail, class Reduction, class TemperatureFactor>
struct TopKForwardKlRows {
  double temperature = 1;
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true, .extras = 3};
  static constexpr const char* name = "TopKForwardKl";

  /// Of the top k: sum p log(p / q), sum p. Of the tail: sum p, and the log-sum-exp of log q as a running maximum and sum,
  /// exact where q underflows. Behind finish(), tail_max is log m_s and `cross` the whole divergence.
  template <class V>
  struct Acc {
    V cross, mass, tail, tail_max, tail_sum;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0), V(0), V(0), V(lowest), V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    using namespace math;
    const auto top = detail::in_top(c, 0);
    const V p = select(top, c.teacher.p, V(0));
    a.cross = a.cross + p * (c.teacher.log_p - c.student.log_p);
    a.mass = a.mass + p;
    if constexpr (Tail::kept) {
      const V lq = c.student.log_p, next = max(a.tail_max, lq);
      a.tail_sum = select(top, a.tail_sum, a.tail_sum * exp(a.tail_max - next) + exp(lq - next));
      a.tail_max = select(top, a.tail_max, next);
      a.tail = a.tail + (c.teacher.p - p);
    }
    return a;
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    using namespace math;
    const V top = max(a.tail_max, b.tail_max);
    return {a.cross + b.cross, a.mass + b.mass, a.tail + b.tail, top, a.tail_sum * exp(a.tail_max - top) + b.tail_sum * exp(b.tail_max - top)};
  }
  template <class T>
  RETORT_HD Acc<T> finish(Acc<T> a, const Row<T>&) const {
    if (!Tail::kept || !(a.tail_sum > T(0))) return {a.cross, a.mass, T(0), T(0), T(0)};
    const T log_ms = a.tail_max + std::log(a.tail_sum);
    const T part = a.tail > T(0) ? a.tail * (std::log(a.tail) - log_ms) : T(0);
    return {a.cross + part, a.mass + a.tail, a.tail, log_ms, T(0)};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a, const Row<T>& row) const {
    return scale(row) * a.cross;
  }
  template <class V, class T>
  RETORT_HD V grad(Acc<T> a, const BasicCell<V>& c) const {
    using namespace math;
    V outside = V(T(0));
    if constexpr (Tail::kept) outside = V(a.tail) * exp(min(c.student.log_p - V(a.tail_max), V(T(0))));
    return V(scale(c.row) / c.row.temperature) * (V(a.mass) * c.student.p - select(detail::in_top(c, 0), c.teacher.p, outside));
  }

 private:
  static constexpr double lowest = -1e30;
  template <class T>
  RETORT_HD T scale(const Row<T>& row) const {
    return T(weight) * detail::temperature_factor<TemperatureFactor>(row.temperature);
  }
};

/// sum over the teacher's top k classes of p log(p / q), p and q softmaxes over all classes at temperature T; the tail by
/// name (ZeroTail, UniformTail: DistillKit's "symmetric_uniform"). Gradient per row, with 1 inside the top k:
/// factor/T * (q sum_k p - 1 p) and factor/T * (q - 1 p - (1 - 1) m_t q / m_s). Throws value_error unless 1 <= k <= C.
template <class Tail = retort::detail::Unnamed, class Reduction = retort::detail::Unnamed, class TemperatureFactor = retort::detail::Unnamed>
struct TopKForwardKl {
  static_assert(std::is_same_v<Tail, ZeroTail> || std::is_same_v<Tail, UniformTail>,
                "retort: TopKForwardKl names what counts outside the top k, for which there is no default: ZeroTail or UniformTail; see retort/loss/top_k.hpp");
  static_assert(ReductionPolicy<Reduction>, RETORT_REDUCTION_MESSAGE);
  static_assert(TemperatureFactorPolicy<TemperatureFactor>, RETORT_TEMPERATURE_FACTOR_MESSAGE);
  index_t count = 128;     ///< k
  double temperature = 1;  ///< > 0
  double weight = 1;

  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    const auto student = result_of(exchange.student), teacher = tape.detach(result_of(exchange.teacher));
    using T = typename decltype(student)::value_type;
    using B = typename std::remove_reference_t<decltype(tape)>::backend_type;
    require<shape_error>(teacher.shape() == student.shape(), "TopKForwardKl: student logits have shape ", to_string(student.shape()),
                         ", teacher logits have shape ", to_string(teacher.shape()));
    const View<T, 2> top = tape.allocate(Shape<2>{student.extent(0), 3});
    Kernels<B>::select_top(tape.backend(), teacher.value, detail::top_count("TopKForwardKl", count, student.extent(1)), top);
    return row_loss(tape, TopKForwardKlRows<Tail, Reduction, TemperatureFactor>{temperature, weight},
                    RowLossInputs<T>{.student = student, .teacher = teacher, .labels = exchange.labels, .mask = exchange.mask,
                                     .weights = exchange.weights, .temperatures = exchange.temperatures, .extras = tape.constant(top)});
  }
};

}  // namespace retort::loss
