#pragma once
// Binary element-wise functions with their partial derivatives, host and device.

#include <retort/config.hpp>

namespace retort::functor {

struct Add {
  template <class V> RETORT_HD V value(V a, V b) const { return a + b; }
  template <class V> RETORT_HD V d_first(V, V) const { return V(1); }
  template <class V> RETORT_HD V d_second(V, V) const { return V(1); }
};
struct Subtract {
  template <class V> RETORT_HD V value(V a, V b) const { return a - b; }
  template <class V> RETORT_HD V d_first(V, V) const { return V(1); }
  template <class V> RETORT_HD V d_second(V, V) const { return V(-1); }
};
struct Multiply {
  template <class V> RETORT_HD V value(V a, V b) const { return a * b; }
  template <class V> RETORT_HD V d_first(V, V b) const { return b; }
  template <class V> RETORT_HD V d_second(V a, V) const { return a; }
};
struct Divide {
  template <class V> RETORT_HD V value(V a, V b) const { return a / b; }
  template <class V> RETORT_HD V d_first(V, V b) const { return V(1) / b; }
  template <class V> RETORT_HD V d_second(V a, V b) const { return -a / (b * b); }
};

}  // namespace retort::functor
