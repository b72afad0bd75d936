// expect: retort: the predictor slot needs a predictor policy
#include "prelude.hpp"
struct Oracle {};
void wrong(Network<Net>& a, Network<Net>& b) { Hinton<Net, Net>::with_predictor<Oracle> method{a, b}; }
