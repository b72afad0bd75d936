// expect: retort: this method draws its batches from training data, and fit was given data::None; a method without data has a source of its own:
#include "prelude.hpp"
Report run(Hinton<Net, Net>& method) { return fit(method, data::None{}, optim::Sgd{}); }
