#include "prelude.hpp"
double alpha() { return fair::gap_of(loss::Joint<loss::CpfKnowledge, fair::GroupGap<>>{}).alpha; }
