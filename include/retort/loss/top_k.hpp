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

  /// `cross`: sum p log(p / q) over the top k. `mass`: sum p over these or, where the tail counts, over the tail. Of the tail
  /// also the log-sum-exp of log q as a running maximum and sum, exact where q underflows. Four members: GCC copies larger
  /// accumulators by calls.
  template <class V>
  struct WithTail {
    V cross, mass, tail_max, tail_sum;
  };
  template <class V>
  struct Without {
    V cross, mass;
  };
  template <class V>
  using Acc = std::conditional_t<Tail::kept, WithTail<V>, Without<V>>;
  template <class V>
  RETORT_HD Acc<V> identity() const {
    if constexpr (Tail::kept)
      return {V(0), V(0), V(lowest), V(0)};
    else
      return {V(0), V(0)};
  }
  template <class V>
  RETORT_HD WithTail<V> add(WithTail<V> a, const BasicCell<V>& c) const {
    using namespace math;
    const auto top = detail::in_top(c, 0);
    const V p = select(top, c.teacher.p, V(0)), lq = c.student.log_p, tail = select(top, V(lowest), lq), above = tail - a.tail_max, e = exp(-abs(above));
    return {a.cross + p * (c.teacher.log_p - lq), a.mass + (c.teacher.p - p), max(a.tail_max, tail), select(above > V(0), a.tail_sum * e + V(1), a.tail_sum + e)};
  }
  template <class V>
  RETORT_HD Without<V> add(Without<V> a, const BasicCell<V>& c) const {
    using namespace math;
    const V p = select(detail::in_top(c, 0), c.teacher.p, V(0));
    return {a.cross + p * (c.teacher.log_p - c.student.log_p), a.mass + p};
  }
  template <class V>
  RETORT_HD WithTail<V> merge(WithTail<V> a, WithTail<V> b) const {
    using namespace math;
    const V above = b.tail_max - a.tail_max, e = exp(-abs(above));
    return {a.cross + b.cross, a.mass + b.mass, max(a.tail_max, b.tail_max), select(above > V(0), a.tail_sum * e + b.tail_sum, a.tail_sum + b.tail_sum * e)};
  }
  template <class V>
  RETORT_HD Without<V> merge(Without<V> a, Without<V> b) const {
    return {a.cross + b.cross, a.mass + b.mass};
  }
  /// The whole divergence; m_t / m_s where the tail's q that matter are normal numbers, else 0; log m_s; m_t.
  template <class T>
  RETORT_HD WithTail<T> finish(WithTail<T> a, const Row<T>&) const {
    if (!(a.tail_max > T(lowest))) return {a.cross, T(0), T(0), T(0)};
    const T log_ms = a.tail_max + std::log(a.tail_sum);
    const T part = a.mass > T(0) ? a.mass * (std::log(a.mass) - log_ms) : T(0);
    return {a.cross + part, log_ms > T(-60) ? a.mass * std::exp(-log_ms) : T(0), log_ms, a.mass};
  }
  template <template <class> class A, class T>
  RETORT_HD T value(A<T> a, const Row<T>& row) const {
    return scale(row) * a.cross;
  }
  template <class V, template <class> class A, class T>
  RETORT_HD RowScaled<V> grad(A<T> a, const BasicCell<V>& c) const {
    using namespace math;
    const auto top = detail::in_top(c, 0);
    const T factor = scale(c.row) / c.row.temperature;
    if constexpr (!Tail::kept) {
      return {factor, V(a.mass) * c.student.p - select(top, c.teacher.p, V(T(0)))};
    } else {  // outside the top k m_t q / m_s
      const V outside = a.mass > T(0) ? c.student.p * V(a.mass) : V(a.tail_sum) * exp(min(c.student.log_p - V(a.tail_max), V(T(0))));
      return {factor, c.student.p - select(top, c.teacher.p, outside)};
    }
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
