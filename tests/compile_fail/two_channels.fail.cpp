// expect: retort: student::TwoChannel (DOT) keeps the task's gradient apart: the loss needs a member `hard`
#include "prelude.hpp"
using TwoVelocities = Hinton<Net, student::TwoChannel<Net>>::with_loss<loss::SoftTargets>;
void wrong(TwoVelocities& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
