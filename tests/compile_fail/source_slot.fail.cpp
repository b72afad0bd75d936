// expect: retort: the source slot needs a source policy: `using role = retort::role::source`, `needs_input_gradient`
#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
struct Noise {  // does not say whether it differentiates through the teacher
  using role = retort::role::source;
  std::string describe() const { return "mine"; }
};
void use(Method::with_source<Noise>& method) { method.source_policy(); }
