#include "prelude.hpp"
using TwoVelocities = Hinton<Net, student::TwoChannel<Net>>;
void right(TwoVelocities& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
