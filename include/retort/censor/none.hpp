#pragma once

#include <retort/method/roles.hpp>

namespace retort::censor {

/// Withholds nothing.
struct None {
  using role = retort::role::censor;
  template <class E>
  void apply(E&) {}
  std::string describe() const { return ""; }
};

}  // namespace retort::censor
