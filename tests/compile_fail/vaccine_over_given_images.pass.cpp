#include "prelude.hpp"
using Method = WithVaccine<OutOfDistributionKd<Net, Net>>;  // censors the student's turn instead
void right(Network<Net>& t, Network<Net>& s) { Method method{t, s, {}, {t}}; }
