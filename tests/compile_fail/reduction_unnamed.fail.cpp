// expect: ForwardKl
#include "prelude.hpp"
loss::ForwardKl<> which_reduction_and_factor;
