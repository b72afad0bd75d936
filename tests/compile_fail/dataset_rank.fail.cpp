// expect: retort::Dataset: the first axis counts samples, so the rank is at least 2
#include <retort/data/dataset.hpp>

retort::Dataset<1> set;
