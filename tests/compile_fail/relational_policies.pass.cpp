#include "prelude.hpp"
loss::RelationalKl<loss::ForwardKl<BatchMean, loss::NoTSquared>, loss::WithoutSelf, loss::InnerProduct> right;
