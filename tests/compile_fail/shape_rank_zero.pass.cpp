#include <retort/core/shape.hpp>

retort::Shape<1> scalar{1};
