// expect: retort: OFD needs the teacher's batch norm at its tap: put nn::Reveal<Tag, nn::BatchNorm> there
#include "prelude.hpp"
struct map;
using Cnn = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Tap<map>, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
void wrong(Hinton<Cnn, Cnn>::with_loss<loss::OnTaps<loss::OverhaulFeature, map>>& method, Dataset<4>& data) { fit(method, data, optim::Sgd{}); }
