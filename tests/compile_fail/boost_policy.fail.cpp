// expect: retort: a Chain needs a boost policy: `update(weights, logits, labels)`
#include "prelude.hpp"
struct Heavier {};
using Chained = Bgnn<Net, Net>::with_boost<Heavier>;
Chained* wrong() { return new Chained(net(), net()); }
