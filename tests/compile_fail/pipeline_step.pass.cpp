#include <retort/data/augment.hpp>

struct Brighten {
  float by = 0.1f;
  void check(const retort::Shape<3>&) const {}
  void operator()(retort::View<float, 3> image, retort::Rng) const {
    for (float& x : image) x += by;
  }
};
retort::data::Pipeline recipe{Brighten{}};
