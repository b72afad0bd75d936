// expect: but the teacher has no input gradients (a cached one does not)
#include <retort/method/hinton.hpp>

using Net = retort::nn::Sequential<retort::nn::Linear>;
using Method = retort::Hinton<Net, Net>;
#include <retort/teacher/cached.hpp>

struct Generator {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = true;
};
using Cached = Method::with_teacher<retort::teacher::Cached<Method::teacher>>::with_source<Generator>;
void use(Cached& method) { method.source_policy(); }
