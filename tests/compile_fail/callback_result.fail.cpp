// expect: retort: a hook of a callback returns bool (true stops the run) or nothing; see
// expect: retort: a number in visit_state is a double or a std::uint64_t; see retort/core/state.hpp
#include "prelude.hpp"
struct Patience {
  float best = 0;
  template <class S>
  int on_epoch_end(S&) { return 1; }
  template <class F>
  void visit_state(F&& f) { f("best", best); }
};
Report run(Hinton<Net, Net>& method, const Dataset<2>& data) { return fit(method, data, optim::Sgd{}, {}, Patience{}); }
