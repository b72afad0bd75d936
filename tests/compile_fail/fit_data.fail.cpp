// expect: retort: fit needs training data: a retort::Dataset, one seen through data::augmented, or data::None
#include <retort/method/hinton.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/train/fit.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
void use(Method& method, const retort::Tensor<float, 2>& inputs) { retort::fit(method, inputs, retort::optim::Sgd{}); }
