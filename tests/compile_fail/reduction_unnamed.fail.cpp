// expect: retort: a loss names its reduction, for which there is no default: BatchMean, ElementMean or TokenMean
// expect: retort: a divergence names its temperature factor, for which there is no default: loss::TSquared
#include "prelude.hpp"
loss::ForwardKl<> which_reduction_and_factor;
