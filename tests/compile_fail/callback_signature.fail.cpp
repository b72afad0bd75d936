// expect: cannot be called as the loop calls it, and so would never run; expected `on_train_begin(session), on_step(session), on_epoch_end(session) or on_train_end(session)`
#include "prelude.hpp"
struct Log {
  void on_step() {}  // no session
  template <class S>
  void on_epoch_end(S&) {}
};
Report run(Hinton<Net, Net>& method, const Dataset<2>& data) { return fit(method, data, optim::Sgd{}, {}, Log{}); }
