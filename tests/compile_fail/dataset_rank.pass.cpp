#include <retort/data/dataset.hpp>

retort::Dataset<2> set;
