#include "prelude.hpp"
struct map;
using Cnn = nn::Sequential<nn::Conv2d, nn::Reveal<map, nn::BatchNorm>, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
void right(Hinton<Cnn, Cnn>::with_loss<loss::OnTaps<loss::OverhaulFeature, map>>& method, Dataset<4>& data) { fit(method, data, optim::Sgd{}); }
