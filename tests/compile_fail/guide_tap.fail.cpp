// expect: retort: a feature tap is missing
#include "prelude.hpp"
struct stage;
using Method = Disk<Net, Net, censor::GuideB23, censor::TeacherTap<stage>>;
void wrong(Method& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
