// expect: retort: this loss compares two views of each sample (MLLD), but the source gives one
#include "prelude.hpp"
using Mlld = Hinton<Net, Net>::with_loss<loss::MultiLevel<loss::MlldPaper>>;
Mlld* wrong(Network<Net>& t, Network<Net>& s) { return new Mlld{t, s}; }
