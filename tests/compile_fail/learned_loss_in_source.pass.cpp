#include "prelude.hpp"
using Right = Hinton<Net, Net>::with_loss<loss::CurriculumTemperature<loss::SoftTargets>>;
void right(Right& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
