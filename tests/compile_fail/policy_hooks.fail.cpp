// expect: a policy has a member of the name of a hook, but it cannot be called as the loop calls it, and so would never run; expected `void plan(const Progress&, Plan&) const`
// expect: expected `template <class T, class B, class Data> void prepare(const Setup<B>&, const Data&)`
// expect: expected `void after_step()`
#include "prelude.hpp"
struct Twice : censor::None {
  void plan(const Progress&, Plan& plan) { plan.front().times = 2; }  // not const
};
struct Remembering : teacher::Frozen<Net> {
  using Frozen::Frozen;
  template <class Data>
  void prepare(const Data&) {}  // no setup
};
struct Counting : student::Trainable<Net> {
  using Trainable::Trainable;
  void after_step(int) {}
};
using Method = Hinton<Remembering, Counting>::with_censor<Twice>;
Report run(Method& method, const Dataset<2>& data) { return fit(method, data, optim::Sgd{}); }
