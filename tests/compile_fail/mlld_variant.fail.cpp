// expect: retort: MultiLevel names its variant, for which there is no default
#include "prelude.hpp"
loss::MultiLevel<> paper_or_code;
