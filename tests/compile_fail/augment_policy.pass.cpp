#include <retort/data/augment.hpp>

void batch(retort::View<float, 4> images, std::span<const retort::index_t> samples) {
  retort::data::augment(retort::data::HorizontalFlip{}, images, samples, 1, 0);
}
