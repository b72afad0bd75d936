// expect: retort: censor::Guide gates loss::ScaffoldedSoftTargets
#include "prelude.hpp"
using Method = Hinton<Net, Net>::with_censor<censor::Guide<censor::GuideB23>>;  // nothing there for a gate to enter
void wrong(Method& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
