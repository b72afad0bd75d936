// expect: retort: a loss names its reduction
#include "prelude.hpp"
loss::ReverseKl<loss::TSquared, BatchMean> in_the_wrong_order;
