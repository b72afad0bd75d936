#define UNIT second
#include "unit.hpp"
