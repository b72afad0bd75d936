// expect: retort: expected a sampler policy
#include "prelude.hpp"
#include <retort/teacher/embedding.hpp>
struct First {};
void wrong(Network<Net>& a) { teacher::Embedding<teacher::Frozen<Net>, projection::Identity, First> teacher{a}; }
