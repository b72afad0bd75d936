// expect: retort: defense::ShufflingVaccine works on sources that synthesise by gradients
#include "prelude.hpp"
void wrong(Network<Net>& t) { defense::ShufflingVaccine<source::OutOfDistribution, Net> source{source::OutOfDistribution{}, t}; }
