#pragma once

#include <retort/method/roles.hpp>

namespace retort::predict {

/// The distilled student alone answers.
struct StudentOnly {
  using role = retort::role::predictor;
  template <class T, class B, class Student, class E>
  auto answer(Pass<T, B>& pass, Student& network, const E& batch) const {
    return network.forward(pass, batch.input);
  }
};

}  // namespace retort::predict
