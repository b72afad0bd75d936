#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
struct Oracle {
  using role = retort::role::teacher;
  static constexpr bool differentiable = false;
  std::string describe() const { return "mine"; }
};
using Taught = retort::Distiller<Oracle, Method::student, Method::loss>;
void use(Taught& method) { method.teacher_policy(); }
