#include "prelude.hpp"
struct Heavier {
  template <class T>
  void update(std::span<float> weights, View<const T, 2>, std::span<const std::int32_t>) const { weights[0] *= 2; }
};
using Chained = Bgnn<Net, Net>::with_boost<Heavier>;
Chained* right() { return new Chained(net(), net()); }
