// expect: retort: a callback of fit defines at least one of on_train_begin(session), on_step(session), on_epoch_end(session),
#include "prelude.hpp"
struct Misspelt {
  template <class S>
  void on_epoch_ended(S&) {}
};
Report run(Hinton<Net, Net>& method, const Dataset<2>& data) { return fit(method, data, optim::Sgd{}, {}, Misspelt{}); }
