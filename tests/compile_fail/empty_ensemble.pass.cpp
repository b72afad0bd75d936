#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
retort::teacher::Ensemble<retort::teacher::LogitMean, Method::teacher>* one;
void use() { (void)one->differentiable; }
