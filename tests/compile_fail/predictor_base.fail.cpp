// expect: retort: a predictor's base holds keys and soft labels
#include "prelude.hpp"
struct embedding;
predict::Retrieval<embedding, Tensor<float, 2>> wrong;
