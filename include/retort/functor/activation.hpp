#pragma once
// Element-wise activations, host and device. `value(x)` and `derivative(x, y)` with y = value(x), over any value type.
// Functions with a kink also take the branch as an argument, so that a second backward pass can replay the branches of
// a first one: differences of gradients are meaningless where a ReLU changed sides between the passes.

#include <retort/functor/math.hpp>

namespace retort::functor {

/// max(x, 0); the derivative at 0 is 0.
struct Relu {
  static constexpr bool kink = true;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    return max(x, V(0));
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    return branch_derivative<V>(x > V(0));
  }
  /// The branch `positive` (a bool or a mask), whatever the sign of x.
  template <class V, class Mask>
  RETORT_HD V branch_value(V x, Mask positive) const {
    using namespace math;
    return select(positive, x, V(0));
  }
  template <class V, class Mask>
  RETORT_HD V branch_derivative(Mask positive) const {
    using namespace math;
    return select(positive, V(1), V(0));
  }
};

/// x for x > 0, else slope * x.
struct LeakyRelu {
  static constexpr bool kink = true;
  float slope = 0.01f;
  template <class V>
  RETORT_HD V value(V x) const {
    return branch_value(x, x > V(0));
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    return branch_derivative<V>(x > V(0));
  }
  template <class V, class Mask>
  RETORT_HD V branch_value(V x, Mask positive) const {
    using namespace math;
    return select(positive, x, V(slope) * x);
  }
  template <class V, class Mask>
  RETORT_HD V branch_derivative(Mask positive) const {
    using namespace math;
    return select(positive, V(1), V(slope));
  }
};

/// x * Phi(x), Phi the normal distribution function (Hendrycks & Gimpel 2016), exact form.
struct Gelu {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    return x * normal_cdf(x);
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    using namespace math;
    return normal_cdf(x) + x * (V(0.39894228040143267794) * exp(V(-0.5) * x * x));
  }
};

/// The tanh approximation of Gelu: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))). Differs from Gelu by up to 5e-4.
struct GeluTanh {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    return V(0.5) * x * (V(1) + gate(x));
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    const V t = gate(x);
    const V inner = V(0.79788456080286535588) * (V(1) + V(3 * 0.044715) * x * x);
    return V(0.5) * (V(1) + t) + V(0.5) * x * (V(1) - t * t) * inner;
  }

 private:
  template <class V>
  RETORT_HD V gate(V x) const {
    using namespace math;
    return tanh(V(0.79788456080286535588) * (x + V(0.044715) * x * x * x));
  }
};

struct Tanh {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    return tanh(x);
  }
  template <class V>
  RETORT_HD V derivative(V, V y) const {
    return V(1) - y * y;
  }
};

/// 1 / (1 + exp(-x)), from an exponential that cannot overflow.
struct Sigmoid {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    const V e = exp(-abs(x));
    return select(x < V(0), e, V(1)) / (V(1) + e);
  }
  template <class V>
  RETORT_HD V derivative(V, V y) const {
    return y * (V(1) - y);
  }
};

/// log(1 + x) for x > -1.
struct LogOnePlus {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    using namespace math;
    return log(V(1) + x);
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    return V(1) / (V(1) + x);
  }
};

/// x * sigmoid(x), also called swish.
struct Silu {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V x) const {
    return x * Sigmoid{}.value(x);
  }
  template <class V>
  RETORT_HD V derivative(V x, V) const {
    const V s = Sigmoid{}.value(x);
    return s * (V(1) + x * (V(1) - s));
  }
};

}  // namespace retort::functor
