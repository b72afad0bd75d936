// expect: retort: the censor slot needs a censor policy: `using role = retort::role::censor`, `apply(exchange)` and `describe()`
#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
struct Guard {  // no role
  template <class E>
  void apply(E&) {}
  std::string describe() const { return "mine"; }
};
void use(Method::with_censor<Guard>& method) { method.censor_policy(); }
