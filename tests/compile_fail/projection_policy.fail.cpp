// expect: retort: expected a projection policy
#include "prelude.hpp"
#include <retort/teacher/embedding.hpp>
struct Umap {};
void wrong(Network<Net>& a) { teacher::Embedding<teacher::Frozen<Net>, Umap> teacher{a}; }
