// expect: retort::Shape: the rank is at least 1
#include <retort/core/shape.hpp>

retort::Shape<0> scalar;
