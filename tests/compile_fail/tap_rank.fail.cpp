// expect: retort: this feature loss does not take what these taps give
#include "prelude.hpp"
struct hint;
using Tapped2 = nn::Sequential<nn::Linear, nn::Relu, nn::Tap<hint>, nn::Linear>;
using OnVectors = Hinton<Tapped2, Tapped2>::with_loss<loss::OnTaps<loss::AttentionTransfer, hint>>;
void wrong(OnVectors& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
