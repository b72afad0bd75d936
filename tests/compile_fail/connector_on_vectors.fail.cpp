// expect: retort: a connector does not take what these taps give
#include "prelude.hpp"
struct hint;
using Tapped2 = nn::Sequential<nn::Linear, nn::Relu, nn::Tap<hint>, nn::Linear>;
void wrong(FitNets<Tapped2, Tapped2, hint>& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
