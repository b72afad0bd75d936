#pragma once
// The keys of the largest inner product with each query: blocks of scores by matrix products, of which each query keeps the
// best. The whole table of scores never exists.

#include <limits>
#include <retort/backend/cpu_gemm.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Nearest {
  /// For each row of `queries` (Q x D) the best rows of `keys` (N x D): ids and scores (Q x k), the best first, equal scores in
  /// the order of the ids. Keys of integers count `scales[j]` a unit. The row exclude[q] is left out where `exclude` is given
  /// (-1: none); places that stay empty hold the id -1 and the score -infinity. Values must be finite.
  template <class Key>
  static void nearest(Cpu& cpu, In<float, 2> queries, View<const Key, 2> keys, Pointer<const float> scales, In<index_t, 1> exclude,
                      View<index_t, 2> ids, View<float, 2> scores) {
    const index_t n = keys.extent(0), width = keys.extent(1), k = ids.extent(1), rows = queries.extent(0);
    require<shape_error>(queries.extent(1) == width, "nearest: queries of shape ", queries.shape, ", keys of shape ", keys.shape);
    require<shape_error>(ids.extent(0) == rows && scores.shape == ids.shape && (exclude.size() == 0 || exclude.size() == rows), "nearest: ", rows,
                         " queries, results of shapes ", ids.shape, " and ", scores.shape, ", ", exclude.size(), " excluded keys");
    if (rows == 0 || k == 0) return;
    ArenaScope scope(cpu.scratch());
    auto& memory = cpu.scratch();
    const index_t group = std::min(rows, query_block);
    Candidate* heaps = memory.template allocate<Candidate>(group * k);
    index_t* filled = memory.template allocate<index_t>(group);
    float* table = memory.template allocate<float>(group * key_block);
    float* unpacked = std::is_same_v<Key, float> ? nullptr : memory.template allocate<float>(key_block * width);
    for (index_t first = 0; first < rows; first += group) {
      const auto q = queries.rows(first, std::min(rows, first + group));
      std::fill_n(filled, q.extent(0), index_t{0});
      for (index_t at = 0; at < n; at += key_block) {
        const index_t count = std::min(key_block, n - at);
        const View<float, 2> block{table, {q.extent(0), count}};
        if constexpr (std::is_same_v<Key, float>)
          score(cpu, q, keys.rows(at, at + count), block);
        else
          score(cpu, q, unpack(keys.rows(at, at + count), scales + at, unpacked), block);
        cpu.parallel(q.extent(0), 16, [=](index_t begin, index_t end, int) {
          for (index_t i = begin; i < end; ++i)
            keep_best(block.row(i), count, at, exclude.size() ? exclude.data[first + i] : -1, heaps + i * k, filled[i], k);
        });
      }
      for (index_t i = 0; i < q.extent(0); ++i) {
        Candidate* heap = heaps + i * k;
        if (!in_order(k)) std::sort_heap(heap, heap + filled[i], better);
        for (index_t j = 0; j < k; ++j) {
          const bool there = j < filled[i];
          ids(first + i, j) = there ? heap[j].id : -1;
          scores(first + i, j) = there ? heap[j].score : -std::numeric_limits<float>::infinity();
        }
      }
    }
  }

 private:
  struct Candidate {
    float score;
    index_t id;
  };
  static bool better(const Candidate& a, const Candidate& b) { return a.score > b.score || (a.score == b.score && a.id < b.id); }

  static constexpr index_t query_block = 256, key_block = 256;  ///< their scores and keys stay in the second-level cache
  static constexpr index_t few = 8;                             ///< queries that do not repay the packing of the keys

  /// All inner products of a block.
  static void score(Cpu& cpu, View<const float, 2> queries, View<const float, 2> keys, View<float, 2> out) {
    if (queries.extent(0) >= few) return Gemm::gemm(cpu, Transpose::no, Transpose::yes, queries, keys, out);
    using P = simd::Native<float>;
    constexpr index_t chains = 4, step = chains * P::lanes;
    const index_t width = keys.extent(1), whole = width / step * step;
    for (index_t q = 0; q < queries.extent(0); ++q)
      for (index_t j = 0; j < keys.extent(0); ++j) {  // key after key: one stream of memory is what prefetchers like best
        const float *x = queries.row(q), *key = keys.row(j);
        P sums[chains];
        for (P& s : sums) s = P(0.f);
        for (index_t d = 0; d < whole; d += step)
#pragma GCC unroll 4
          for (index_t i = 0; i < chains; ++i) sums[i] = fma(P::load(x + d + i * P::lanes), P::load(key + d + i * P::lanes), sums[i]);
        float sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum();
        for (index_t d = whole; d < width; ++d) sum += x[d] * key[d];
        out(q, j) = sum;
      }
  }
  template <class Key>
  static View<const float, 2> unpack(View<const Key, 2> keys, const float* scales, float* to) {
    const index_t width = keys.extent(1);
    for (index_t j = 0; j < keys.extent(0); ++j) {
      const Key* from = keys.row(j);
      const float scale = scales[j];
      float* row = to + j * width;
      for (index_t d = 0; d < width; ++d) row[d] = scale * static_cast<float>(from[d]);
    }
    return {to, keys.shape};
  }
  /// Few candidates are kept in order, which costs less than a heap.
  static constexpr bool in_order(index_t k) { return k <= 64; }
  /// Lets the scores of the keys first .. first + count into the candidates: a list in order, or a heap whose root is the worst of
  /// the k best. Most blocks hold none: a vector at a time is compared with the worst.
  static void keep_best(const float* scores, index_t count, index_t first, index_t excluded, Candidate* heap, index_t& filled, index_t k) {
    using P = simd::Native<float>;
    constexpr index_t stretch = 4 * P::lanes;
    const auto bar = [&] { return filled < k ? -std::numeric_limits<float>::infinity() : heap[in_order(k) ? k - 1 : 0].score; };
    const auto look = [&](index_t from, index_t to) {
      for (index_t j = from; j < to; ++j) {
        if (!(scores[j] > bar()) || first + j == excluded) continue;
        if (filled == k && !in_order(k)) std::pop_heap(heap, heap + k, better);
        if (filled < k) ++filled;
        const Candidate fresh{scores[j], first + j};
        if (in_order(k)) {  // later ids come later, so an equal score stays before the new one
          index_t at = filled - 1;
          for (; at > 0 && heap[at - 1].score < fresh.score; --at) heap[at] = heap[at - 1];
          heap[at] = fresh;
        } else {
          heap[filled - 1] = fresh;
          std::push_heap(heap, heap + filled, better);
        }
      }
    };
    index_t j = 0;
    for (; j + stretch <= count; j += stretch) {
      const P top = max(max(P::load(scores + j), P::load(scores + j + P::lanes)),
                        max(P::load(scores + j + 2 * P::lanes), P::load(scores + j + 3 * P::lanes)));
      if (top.maximum() > bar()) look(j, j + stretch);
    }
    look(j, count);
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
