// expect: retort: a KL divergence names its direction: loss::ForwardKl is KL(teacher || student)
#include "prelude.hpp"
loss::KlDivergence<BatchMean, loss::TSquared> which_direction;
