#include "prelude.hpp"
#include <retort/teacher/embedding.hpp>
struct First {
  std::vector<index_t> select(const sample::Pool&, index_t k, Rng) const {
    std::vector<index_t> out;
    for (index_t i = 0; i < k; ++i) out.push_back(i);
    return out;
  }
  std::string describe() const { return "first"; }
};
void right(Network<Net>& a) { teacher::Embedding<teacher::Frozen<Net>, projection::Identity, First> teacher{a}; }
