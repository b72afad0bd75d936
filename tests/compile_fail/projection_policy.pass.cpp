#include "prelude.hpp"
#include <retort/teacher/embedding.hpp>
struct Halved {
  projection::Affine fit(const projection::Moments& of) const { return projection::Random{of.width() / 2}.fit(of); }
  std::string describe() const { return "half"; }
};
void right(Network<Net>& a) { teacher::Embedding<teacher::Frozen<Net>, Halved> teacher{a}; }
