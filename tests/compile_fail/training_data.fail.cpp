// expect: retort: fit needs training data
#include "prelude.hpp"
void wrong(Hinton<Net, Net>& method) { fit(method, std::vector<float>{}, optim::Sgd{}); }
