#include "prelude.hpp"
struct hint;
using Tapped2 = nn::Sequential<nn::Flatten, nn::Linear, nn::Relu, nn::Tap<hint>, nn::Linear>;
using Method = Hinton<Tapped2, Tapped2>::with_loss<loss::Contrastive<hint>>;
void right(Method& method, Dataset<4>& data) { fit(method, data, optim::Sgd{}); }
