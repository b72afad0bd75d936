#include "prelude.hpp"
Report run(Hinton<Net, Net>& method, const Dataset<2>& data) { return fit(method, data, optim::Sgd{}); }
