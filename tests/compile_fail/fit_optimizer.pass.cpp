#include <retort/method/hinton.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/train/fit.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
void use(Method& method, const retort::Dataset<2>& set) { retort::fit(method, set, retort::optim::Sgd{.lr = 0.1f}); }
