// expect: retort: loss::Contrastive needs a data set: its memory banks hold one row per sample
#include "prelude.hpp"
struct hint;
using Tapped2 = nn::Sequential<nn::Flatten, nn::Linear, nn::Relu, nn::Tap<hint>, nn::Linear>;
using Method = Zskt<Tapped2, Tapped2, source::ZsktNet>::with_loss<loss::Contrastive<hint>>;
void wrong(Method& method) { fit(method, data::None{}, optim::Sgd{}); }
