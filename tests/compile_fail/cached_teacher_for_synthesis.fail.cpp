// expect: retort: this source synthesises its batches by differentiating through the teacher
#include "prelude.hpp"
struct Synthesis {
  using role = role::source;
  static constexpr bool needs_input_gradient = true;
  std::string describe() const { return "mine"; }
};
using Cached = teacher::Cached<teacher::Frozen<Net>>;
void wrong(Network<Net>& a, Network<Net>& b) { Hinton<Cached, Net>::with_source<Synthesis> method{a, b}; }
