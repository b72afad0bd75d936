// expect: retort: a feature tap is missing
#include "prelude.hpp"
struct hint;
struct Hint {
  template <class E>
  auto evaluate(E& e) const { return mean(e.tape, subtract(e.tape, tap<hint>(e.student), tap<hint>(e.teacher))); }
};
void wrong(Hinton<Net, Net>::with_loss<Hint>& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
