#include "prelude.hpp"
loss::ForwardKl<BatchMean, loss::TSquared> from_the_teacher;
