// expect: retort: the teacher slot needs a teacher policy: `using role = retort::role::teacher`, `differentiable`
#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
struct Oracle {  // does not say whether it is differentiable
  using role = retort::role::teacher;
  std::string describe() const { return "mine"; }
};
using Taught = retort::Distiller<Oracle, Method::student, Method::loss>;
void use(Taught& method) { method.teacher_policy(); }
