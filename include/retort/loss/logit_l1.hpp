#pragma once

#include <retort/functor/row_loss.hpp>

namespace retort::loss {

/// Absolute distance of the logits, sum_c |s_c - t_c| (Fang et al. 2019, "Data-Free Adversarial Distillation": gradients
/// that do not vanish when the two agree). With ElementMean the usual mean absolute error. Gradient: sign(s - t), 0 at 0.
template <class Reduction>
struct LogitL1 {
  double weight = 1;

  using reduction = Reduction;
  static constexpr RowNeeds needs{.teacher = true};
  static constexpr const char* name = "LogitL1";

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
    using namespace math;
    return {a.sum + abs(c.z - c.t)};
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
    return sign(c.z - c.t);
  }
  template <class V, class T>
  RETORT_HD V teacher_grad(Acc<T>, const BasicCell<V>& c) const {
    return sign(c.t - c.z);
  }

 private:
  template <class V>
  RETORT_HD V sign(V d) const {
    using namespace math;
    using T = typename BasicCell<V>::scalar;
    const V w = V(T(weight));
    return select(d > V(T(0)), w, select(d < V(T(0)), -w, V(T(0))));
  }
};

}  // namespace retort::loss
