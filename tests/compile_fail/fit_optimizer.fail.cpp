// expect: retort: fit needs an optimiser policy: members `lr`, `schedule` and `clip`
#include <retort/method/hinton.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/train/fit.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
struct Plain {
  float lr = 0.1f;
};
void use(Method& method, const retort::Dataset<2>& set) { retort::fit(method, set, Plain{}); }
