#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss {

namespace detail {
struct SquaredDifference {
  static constexpr const char* name = "LogitMse";
  template <class V>
  RETORT_HD static V value(V d) {
    return d * d;
  }
  template <class V>
  RETORT_HD static V derivative(V d) {
    return d + d;
  }
};
struct AbsoluteDifference {
  static constexpr const char* name = "LogitL1";
  template <class V>
  RETORT_HD static V value(V d) {
    using namespace math;
    return abs(d);
  }
  template <class V>
  RETORT_HD static V derivative(V d) {
    using namespace math;
    return select(d > V(0), V(1), select(d < V(0), V(-1), V(0)));
  }
};
}  // namespace detail

/// sum_c of a function of s_c - t_c; see the two aliases.
template <class Distance, class Reduction>
struct LogitDistance {
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true};
  static constexpr const char* name = Distance::name;
  static constexpr bool pointwise = true;

  template <class V>
  struct Acc {
    V sum;
  };
  template <class V>
  RETORT_HD Acc<V> identity() const {
    return {V(0)};
  }
  template <class V>
  RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    return {a.sum + Distance::value(c.z - c.t)};
  }
  template <class V>
  RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const {
    return {a.sum + b.sum};
  }
  template <class T>
  RETORT_HD T value(Acc<T> a) const {
    return T(weight) * a.sum;
  }
  template <class V, class T>
  RETORT_HD RowScaled<V> grad(Acc<T>, const BasicCell<V>& c) const {
    return {T(weight), Distance::derivative(c.z - c.t)};
  }
  template <class V, class T>
  RETORT_HD V teacher_grad(Acc<T>, const BasicCell<V>& c) const {
    return V(T(weight)) * Distance::derivative(c.t - c.z);
  }
};

/// Squared distance of the logits, sum_c (s_c - t_c)^2 (Ba & Caruana 2014, "Do Deep Nets Really Need to be Deep?").
/// With ElementMean it is the usual mean squared error. Gradient per row: 2 * (s - t).
template <class Reduction>
using LogitMse = LogitDistance<detail::SquaredDifference, Reduction>;

/// Absolute distance of the logits, sum_c |s_c - t_c| (Fang et al. 2019, "Data-Free Adversarial Distillation": gradients
/// that do not vanish when the two agree). With ElementMean the usual mean absolute error. Gradient: sign(s - t), 0 at 0.
template <class Reduction>
using LogitL1 = LogitDistance<detail::AbsoluteDifference, Reduction>;

}  // namespace retort::loss
