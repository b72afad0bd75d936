#pragma once
// Element-wise terms of feature losses between a student's value and a constant, host and device; same form as
// functor/arithmetic.hpp. The second operand is the teacher's side: it gets no derivative.

#include <retort/functor/distance.hpp>

namespace retort::functor {

/// The larger one.
struct Maximum {
  template <class V>
  RETORT_HD V value(V a, V b) const {
    using namespace math;
    return max(a, b);
  }
  template <class V>
  RETORT_HD V d_first(V a, V b) const {
    using namespace math;
    return select(a > b, V(1), V(0));
  }
  template <class V>
  RETORT_HD V d_second(V a, V b) const {
    using namespace math;
    return select(a > b, V(0), V(1));
  }
};

/// s where t <= 0, -s where t > 0: how far a student is on the wrong side of an activation boundary.
struct SignedBy {
  template <class V>
  RETORT_HD V value(V s, V t) const {
    using namespace math;
    return select(t > V(0), -s, s);
  }
  template <class V>
  RETORT_HD V d_first(V, V t) const {
    using namespace math;
    return select(t > V(0), V(-1), V(1));
  }
  template <class V>
  RETORT_HD V d_second(V, V) const {
    return V(0);
  }
};

/// OFD against u = max(t, margin), margin < 0: (s - u)^2 where u > 0 or s > u, else 0.
struct PartialSquare {
  template <class V>
  RETORT_HD V value(V s, V u) const {
    const V d = active(s, u);
    return d * d;
  }
  template <class V>
  RETORT_HD V d_first(V s, V u) const {
    const V d = active(s, u);
    return d + d;
  }
  template <class V>
  RETORT_HD V d_second(V, V) const {
    return V(0);
  }

 private:
  template <class V>
  RETORT_HD V active(V s, V u) const {
    using namespace math;
    return select((u > V(0)) | (s > u), s - u, V(0));
  }
};

/// log(1 + exp x).
struct Softplus {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    return max(x, V(0)) + log(V(1) + exp(-max(x, -x)));
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    using namespace math;
    return V(1) / (V(1) + exp(-x));
  }
};

}  // namespace retort::functor
