#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
using Straight = retort::Distiller<Method::teacher, Method::student, Method::loss>;
void use(Straight& method) { method.student_policy(); }
