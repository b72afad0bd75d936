// expect: retort: this loss compares two views of each sample (MLLD), but the source gives one
#include "prelude.hpp"
using WithViews = Hinton<Net, Net>::with_loss<loss::MultiLevel<loss::MlldPaper>>;
WithViews* wrong(Network<Net>& t, Network<Net>& s) { return new WithViews{t, s}; }
