#include "prelude.hpp"
struct embedding;
using Embedding = nn::Sequential<nn::Linear, nn::Tap<embedding>, nn::Relu, nn::Linear>;
void right(Network<Embedding>& a, Network<Embedding>& b, const Dataset<2>& data) {
  ReAugKd<Embedding, Embedding, embedding> method{{a, {.width = 8}}, b};
  fit(method, data, optim::Sgd{});
}
