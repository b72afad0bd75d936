#include "prelude.hpp"
using Wide = nn::Sequential<nn::Linear, nn::Linear>;
void use(Network<Wide>& teacher, Network<Net>& student) { Hinton<Wide, Net> method{teacher, student, {.soft = {.temperature = 2.f}}}; }
