// expect: retort: loss::RelationalKl compares a sample with the batch either loss::WithSelf or loss::WithoutSelf
#include "prelude.hpp"
loss::RelationalKl<loss::ForwardKl<BatchMean, loss::NoTSquared>, loss::Cosine> wrong;
