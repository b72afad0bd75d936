#pragma once
// Element-wise functions of distances, host and device; same form as functor/activation.hpp.

#include <retort/functor/math.hpp>

namespace retort::functor {

namespace detail {
template <class V>
struct scalar_of_value {
  using type = V;
};
template <class V>
  requires requires { typename V::value_type; }
struct scalar_of_value<V> {
  using type = typename V::value_type;
};
/// A number as a value of type V, whose lanes may be float.
template <class V>
RETORT_HD V number(double x) {
  return V(static_cast<typename scalar_of_value<V>::type>(x));
}
}  // namespace detail

/// sqrt(max(x, floor)); the derivative below the floor is 0, so that equal points have a gradient.
struct Sqrt {
  static constexpr bool kink = false;
  double floor = 0;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    const V inside = max(x, detail::number<V>(floor));
    return select(inside > V(0), exp(V(0.5f) * log(max(inside, V(1e-37f)))), V(0));
  }
  template <class V>
  RETORT_HD V derivative(V x, V y) const {
    using namespace math;
    return select(x > detail::number<V>(floor), V(0.5f) / max(y, V(1e-30f)), V(0));
  }
};

/// |x|; the derivative at 0 is 0.
struct Magnitude {
  static constexpr bool kink = true;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    return max(x, -x);
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    using namespace math;
    return select(x > V(0), V(1), select(x < V(0), V(-1), V(0)));
  }
  template <class V, class Mask>
  RETORT_HD V branch_value(V x, Mask positive) const {
    using namespace math;
    return select(positive, x, -x);
  }
  template <class V, class Mask>
  RETORT_HD V branch_derivative(Mask positive) const {
    using namespace math;
    return select(positive, V(1), V(-1));
  }
};

/// Smooth L1 with delta = 1 (Girshick 2015): x^2 / 2 for |x| < 1, else |x| - 1/2. Continuously differentiable.
struct SmoothL1 {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    const V a = max(x, -x);
    return select(a < V(1), V(0.5f) * x * x, a - V(0.5f));
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    using namespace math;
    return max(V(-1), min(V(1), x));
  }
};

/// log x, x > 0.
struct Log {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    return log(x);
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    return V(1) / x;
  }
};

/// x + shift.
struct Shift {
  static constexpr bool kink = false;
  double shift = 0;
  template <class V>
  RETORT_HD V value(V x) const {
    return x + detail::number<V>(shift);
  }
  template <class V>
  RETORT_HD V derivative(V, V) const {
    return V(1);
  }
};

}  // namespace retort::functor
