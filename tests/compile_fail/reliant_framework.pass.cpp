#include "prelude.hpp"
void use(Reliant<Cpf<Net, Net>>& method) { method.loss_policy(); }
