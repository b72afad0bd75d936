// expect: retort: fit needs an optimiser policy
#include "prelude.hpp"
struct Nothing {};
void wrong(Hinton<Net, Net>& method, Dataset<2>& data) { fit(method, data, Nothing{}); }
