// expect: retort: the teacher comes first and the student second, but this method was given them the other way round
#include "prelude.hpp"
using Wide = nn::Sequential<nn::Linear, nn::Linear>;
void use(Network<Wide>& teacher, Network<Net>& student) { Hinton<Wide, Net> method{student, teacher, {.soft = {.temperature = 2.f}}}; }
