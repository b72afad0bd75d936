// expect: retort: teacher::Ensemble needs at least one teacher behind its averaging policy
#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
retort::teacher::Ensemble<retort::teacher::LogitMean>* empty;
void use() { (void)empty->differentiable; }
