#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
#include <retort/teacher/cached.hpp>

struct Generator {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = true;
};
void use(Method::with_source<Generator>& method) { method.source_policy(); }
