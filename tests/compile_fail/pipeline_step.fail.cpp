// expect: retort::data::Pipeline: every step must be an augmentation
#include <retort/data/augment.hpp>

struct Brighten {  // no check(Shape<3>)
  float by = 0.1f;
  void operator()(retort::View<float, 3> image, retort::Rng) const {
    for (float& x : image) x += by;
  }
};
retort::data::Pipeline recipe{Brighten{}};
