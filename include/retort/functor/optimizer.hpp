#pragma once
// The rules of optimisers for one entry of a parameter: the arithmetic that both machines share. A rule is called with whether the
// parameter takes part in weight decay, the gradient, the weight, and the entry's moments: two, or one that may be absent.

#include <retort/functor/math.hpp>

namespace retort::functor {

/// SGD with momentum as in Sutskever et al. 2013, in the form with the learning rate outside the velocity:
/// g += decay*w; v = momentum*v + g; w -= lr * (nesterov ? g + momentum*v : v). Without a velocity: w -= lr * g.
template <class T>
struct SgdStep {
  static constexpr int moments = 1;
  T lr, momentum, decay;
  bool nesterov;
  template <class V>
  RETORT_HD void operator()(bool decays, V grad, V& weight, V* velocity, V*) const {
    const V w = weight, g = grad + V(decays ? decay : T(0)) * w;
    if (!velocity) {
      weight = w - V(lr) * g;
      return;
    }
    const V v = V(momentum) * *velocity + g;
    *velocity = v;
    weight = w - V(lr) * (nesterov ? g + V(momentum) * v : v);
  }
};

/// Adam (Kingma & Ba 2015) with the two bias corrections given as factors; `decay` adds to the gradient (L2), `decoupled`
/// shrinks the weight by lr*decoupled instead (AdamW, Loshchilov & Hutter 2019).
template <class T>
struct AdamStep {
  static constexpr int moments = 2;
  T lr, beta1, beta2, epsilon, correction1, correction2, decay, decoupled;
  template <class V>
  RETORT_HD void operator()(bool decays, V grad, V& weight, V* first, V* second) const {
    using namespace math;
    const V w = weight * V(T(1) - lr * (decays ? decoupled : T(0))), g = grad + V(decays ? decay : T(0)) * weight;
    // The first product of a sum is the one that compilers fuse with the addition: this order is part of the bits.
    const V m = V(T(1) - beta1) * g + V(beta1) * *first, v = V(T(1) - beta2) * g * g + V(beta2) * *second;
    *first = m;
    *second = v;
    weight = w - V(lr) * (m * V(correction1)) / (sqrt(v * V(correction2)) + V(epsilon));
  }
};

}  // namespace retort::functor
