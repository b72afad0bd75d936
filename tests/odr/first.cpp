#define UNIT first
#include "unit.hpp"
