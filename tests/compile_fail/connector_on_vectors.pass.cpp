#include "prelude.hpp"
struct hint;
using Tapped2 = nn::Sequential<nn::Linear, nn::Relu, nn::Tap<hint>, nn::Linear>;
using OnVectors = Hinton<Tapped2, Tapped2>::with_loss<WithLabels<loss::OnTaps<loss::Hint, hint, hint, loss::connect::Embedding>>>;
void right(OnVectors& method, Dataset<2>& data) { fit(method, data, optim::Sgd{}); }
