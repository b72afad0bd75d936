#pragma once
// Smooth element-wise functions that losses are made of, host and device; same form as functor/activation.hpp.

#include <retort/functor/math.hpp>

namespace retort::functor {

/// x log x, x >= 0, with 0 log 0 = 0: the terms of an entropy.
struct XLogX {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    return x * log(max(x, V(1e-30f)));
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    using namespace math;
    return log(max(x, V(1e-30f))) + V(1);
  }
};

/// e^x.
struct Exp {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    return exp(x);
  }
  template <class V>
  RETORT_HD V derivative(V, V y) const {
    return y;
  }
};

}  // namespace retort::functor
