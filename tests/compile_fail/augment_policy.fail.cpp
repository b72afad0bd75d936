// expect: retort::data::augment: the policy must be an augmentation
#include <retort/data/augment.hpp>

struct Nothing {};
void batch(retort::View<float, 4> images, std::span<const retort::index_t> samples) {
  retort::data::augment(Nothing{}, images, samples, 1, 0);
}
