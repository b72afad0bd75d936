// A shared library for search.py: Retort's knowledge base behind C functions, so that one process measures it beside FAISS on the
// same keys, and what a student's answer costs.

#include <retort.hpp>
#include <retort/nn/zoo/text.hpp>

#include "machine.hpp"

using namespace retort;

namespace {
template <class Key>
struct Searcher {
  retrieval::KnowledgeBase<Key> base;
  Cpu cpu;
};
template <class Key>
void* make(const float* keys, index_t n, index_t width) {
  auto* out = new Searcher<Key>;
  Tensor<float, 2> labels(Shape{n, 2});
  for (index_t i = 0; i < n; ++i) labels(i, i % 2) = 1;
  out->base.add({keys, {n, width}}, labels.view());
  return out;
}
template <class Key>
void search(void* self, const float* queries, index_t count, index_t k, index_t* ids, float* scores) {
  auto& s = *static_cast<Searcher<Key>*>(self);
  s.base.nearest(s.cpu, View<const float, 2>{queries, {count, s.base.width()}}, {ids, {count, k}}, {scores, {count, k}});
}
}  // namespace

extern "C" {
void* float_base(const float* keys, index_t n, index_t width) { return make<float>(keys, n, width); }
void* int8_base(const float* keys, index_t n, index_t width) { return make<std::int8_t>(keys, n, width); }
void float_search(void* s, const float* q, index_t count, index_t k, index_t* ids, float* scores) { search<float>(s, q, count, k, ids, scores); }
void int8_search(void* s, const float* q, index_t count, index_t k, index_t* ids, float* scores) { search<std::int8_t>(s, q, count, k, ids, scores); }
index_t float_bytes(void* s) { return static_cast<index_t>(static_cast<Searcher<float>*>(s)->base.bytes()); }
index_t int8_bytes(void* s) { return static_cast<index_t>(static_cast<Searcher<std::int8_t>*>(s)->base.bytes()); }
void float_free(void* s) { delete static_cast<Searcher<float>*>(s); }
void int8_free(void* s) { delete static_cast<Searcher<std::int8_t>*>(s); }

/// Seconds of one answer of a student to `count` sentences of 20 tokens, best of 20: 0 a bag of words of 128 numbers, 1 a transformer
/// of two layers of 128, 2 one of six layers of 768 (the paper's size).
double student_seconds(int kind, index_t count) {
  Cpu cpu;
  Dataset<2> data{Tensor<float, 2>(Shape{count, 20}), std::vector<std::int32_t>(static_cast<std::size_t>(count)), 6, "sentences"};
  Rng rng(1);
  for (float& id : data.inputs) id = static_cast<float>(1 + rng.below(7999));
  const auto best = [&](auto net, int repeats) {
    Network<decltype(net)> network(std::move(net), 1);
    double seconds = 1e9;
    for (int i = 0; i < repeats; ++i) {
      const double start = bench::thread_seconds();
      predict_logits(network, data, cpu);
      seconds = std::min(seconds, bench::thread_seconds() - start);
    }
    return seconds;
  };
  if (kind == 0) return best(nn::zoo::bag_of_words(8000, {128}, 6), 20);
  if (kind == 1) return best(nn::zoo::text_transformer(8000, 32, 128, 4, 2, 6), 20);
  return best(nn::zoo::text_transformer(8000, 32, 768, 12, 6, 6), 3);
}
const char* processor_name() {
  static const std::string name = bench::processor();
  return name.c_str();
}
}
