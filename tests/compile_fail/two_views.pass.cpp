#include "prelude.hpp"
using Mlld = Hinton<Net, Net>::with_source<source::TwoViews<data::Pipeline<data::RandomCrop>>>::with_loss<loss::MultiLevel<loss::MlldPaper>>;
Mlld* right(Network<Net>& t, Network<Net>& s) { return new Mlld{t, s, {}, {}, {data::Pipeline{data::RandomCrop{4}}}}; }
