// expect: retort: Reliant and PenaltyOnly take a framework over a graph whose loss names the nodes that count
#include "prelude.hpp"
void use(Reliant<Hinton<Net, Net>>& method) { method.loss_policy(); }
