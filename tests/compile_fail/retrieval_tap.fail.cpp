// expect: retort: a feature tap is missing
#include "prelude.hpp"
struct embedding;
void wrong(Network<Net>& a, Network<Net>& b, const Dataset<2>& data) {
  ReAugKd<Net, Net, embedding> method{{a, {.width = 8}}, b};
  fit(method, data, optim::Sgd{});
}
