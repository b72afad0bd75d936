#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss {

/// Squared distance of the logits, sum_c (s_c - t_c)^2 (Ba & Caruana 2014, "Do Deep Nets Really Need to be Deep?").
/// With ElementMean it is the usual mean squared error. Gradient per row: 2 * (s - t).
template <class Reduction>
struct LogitMse {
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true};
  static constexpr const char* name = "LogitMse";

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
    const V d = c.z - c.t;
    return {a.sum + d * d};
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
  RETORT_HD V grad(Acc<T>, const BasicCell<V>& c) const {
    return V(T(2 * weight)) * (c.z - c.t);
  }
  template <class V, class T>
  RETORT_HD V teacher_grad(Acc<T>, const BasicCell<V>& c) const {
    return V(T(2 * weight)) * (c.t - c.z);
  }
};

}  // namespace retort::loss
