// expect: retort: TopKForwardKl names what counts outside the top k, for which there is no default: ZeroTail or UniformTail
#include "prelude.hpp"
loss::TopKForwardKl<BatchMean, loss::TSquared> which_tail;
