// expect: retort: a calibrator's criterion scores one answer
#include "prelude.hpp"
struct Nothing {};
retrieval::Calibrator<Nothing> wrong;
