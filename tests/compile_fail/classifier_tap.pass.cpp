#include "prelude.hpp"
struct map;
struct head;
using Cnn = nn::Sequential<nn::Conv2d, nn::Tap<map>, nn::GlobalAveragePool, nn::Reveal<head, nn::Linear>>;
void right(Hinton<Cnn, Cnn>::with_loss<loss::RegressionRepresentation<map, head>>& method, Dataset<4>& data) { fit(method, data, optim::Sgd{}); }
