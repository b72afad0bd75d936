#include <retort.hpp>
#include <retort/retrieval/hnsw.hpp>

bool finds_the_only_key() {
  retort::Cpu cpu;
  retort::Tensor<float, 2> keys(retort::Shape{1, 2}), labels(retort::Shape{1, 2});
  keys(0, 0) = labels(0, 0) = 1;
  retort::retrieval::HnswBase<> base;
  base.add(keys, labels);
  return base.nearest(cpu, keys.view(), 1).ids(0, 0) == 0;
}
