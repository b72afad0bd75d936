// expect: retort: RELIANT's proxy needs a fair::GroupGap in the loss
#include "prelude.hpp"
double alpha() { return fair::gap_of(loss::CpfKnowledge{}).alpha; }
