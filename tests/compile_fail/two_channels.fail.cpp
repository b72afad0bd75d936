// expect: retort: student::TwoChannel (DOT) keeps the task's gradient apart: the loss needs a member `hard`
#include "prelude.hpp"
using Dot = Hinton<Net, student::TwoChannel<Net>>::with_loss<loss::SoftTargets>;
void wrong(Dot& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
