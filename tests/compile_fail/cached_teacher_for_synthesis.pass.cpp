#include "prelude.hpp"
struct Synthesis {
  using role = role::source;
  static constexpr bool needs_input_gradient = true;
  std::string describe() const { return "mine"; }
};
void right(Network<Net>& a, Network<Net>& b) { Hinton<Net, Net>::with_source<Synthesis> method{a, b}; }
