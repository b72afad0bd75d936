#include "prelude.hpp"
using Method = Disk<Net, Net, censor::GuideB23>;
void right(Method& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
