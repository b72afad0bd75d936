#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
struct Noise {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = false;
  std::string describe() const { return "mine"; }
};
void use(Method::with_source<Noise>& method) { method.source_policy(); }
