#include "prelude.hpp"
using Dot = Hinton<Net, student::TwoChannel<Net>>;
void right(Dot& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
