// expect: retort: the student slot needs a student policy: `using role = retort::role::student`, `answer(pass, batch)`
#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
using Swapped = retort::Distiller<Method::teacher, Method::teacher, Method::loss>;  // the teacher cannot learn
void use(Swapped& method) { method.student_policy(); }
