#include "prelude.hpp"
void right(Hinton<Net, Net>& method, Dataset<2>& data) { fit(method, data, optim::Adam{}); }
