#include "prelude.hpp"
using WithViews = Hinton<Net, Net>::with_source<source::TwoViews<data::Pipeline<data::RandomCrop>>>::with_loss<loss::MultiLevel<loss::MlldPaper>>;
WithViews* right(Network<Net>& t, Network<Net>& s) { return new WithViews{t, s, {}, {}, {data::Pipeline{data::RandomCrop{4}}}}; }
