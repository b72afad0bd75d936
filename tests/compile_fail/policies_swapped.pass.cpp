#include "prelude.hpp"
loss::ReverseKl<BatchMean, loss::TSquared> in_order;
