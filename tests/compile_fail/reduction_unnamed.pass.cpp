#include "prelude.hpp"
loss::ForwardKl<BatchMean, loss::TSquared> both_named;
