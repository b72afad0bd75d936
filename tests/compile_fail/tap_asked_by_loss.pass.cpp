#include "prelude.hpp"
struct hint;
using Tapped2 = nn::Sequential<nn::Linear, nn::Relu, nn::Tap<hint>, nn::Linear>;
struct Hint {
  template <class E>
  auto evaluate(E& e) const { return mean(e.tape, subtract(e.tape, tap<hint>(e.student), tap<hint>(e.teacher))); }
};
void right(Hinton<Tapped2, Tapped2>::with_loss<Hint>& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
