#include "prelude.hpp"
struct Log {
  template <class S>
  void on_step(S&) {}
  template <class S>
  void on_epoch_end(S&) {}
};
Report run(Hinton<Net, Net>& method, const Dataset<2>& data) { return fit(method, data, optim::Sgd{}, {}, Log{}); }
