// expect: retort: fair::GroupGap needs a squash policy: `kink`, `value(p)` and `derivative(p, y)`
#include "prelude.hpp"
struct Step {
  double value(double p) const { return p > 0.5; }
};
fair::GroupGap<Step> gap;
