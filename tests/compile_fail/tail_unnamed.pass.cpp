#include "prelude.hpp"
loss::TopKForwardKl<loss::UniformTail, BatchMean, loss::TSquared> with_a_tail;
