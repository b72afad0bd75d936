// expect: retort: SRRL applies the teacher's classifier: put nn::Reveal<Tag, nn::Linear> in place of the teacher's last layer
#include "prelude.hpp"
struct map;
struct head;
using Cnn = nn::Sequential<nn::Conv2d, nn::Tap<map>, nn::GlobalAveragePool, nn::Linear, nn::Tap<head>>;
void wrong(Hinton<Cnn, Cnn>::with_loss<loss::RegressionRepresentation<map, head>>& method, Dataset<4>& data) { fit(method, data, optim::Sgd{}); }
