#pragma once
// The keys of the largest inner product with each query: blocks of scores by matrix products, of which each query keeps the
// best. The whole table of scores never exists.

#include <bit>
#include <cmath>
#include <limits>
#include <retort/backend/cpu_gemm.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// Inner products of x (width numbers) with `Streams` keys, `apart` numbers from one to the next, each in `Chains` partial sums.
template <int Streams, int Chains, class Key>
RETORT_INLINE void inner_products(const float* x, const Key* keys, index_t apart, index_t width, float* out) {
  using P = simd::Native<float>;
  constexpr index_t step = Chains * P::lanes;
  P sums[Streams][Chains];
#pragma GCC unroll 4
  for (int s = 0; s < Streams; ++s)
#pragma GCC unroll 4
    for (int c = 0; c < Chains; ++c) sums[s][c] = P(0.f);
  index_t d = 0;
  for (; d + step <= width; d += step)
#pragma GCC unroll 4
    for (int c = 0; c < Chains; ++c) {
      const P part = P::load(x + d + c * P::lanes);
#pragma GCC unroll 4
      for (int s = 0; s < Streams; ++s) sums[s][c] = fma(part, P::load(keys + s * apart + d + c * P::lanes), sums[s][c]);
    }
  for (int s = 0; s < Streams; ++s) {
    P sum = sums[s][0];
    for (int c = 1; c < Chains; ++c) sum += sums[s][c];
    out[s] = sum.sum();
    for (index_t rest = d; rest < width; ++rest) out[s] += x[rest] * static_cast<float>(keys[s * apart + rest]);
  }
}

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
    float* unpacked = std::is_same_v<Key, float> || rows < few ? nullptr : memory.template allocate<float>(key_block * width);
    for (index_t first = 0; first < rows; first += group) {
      const auto q = queries.rows(first, std::min(rows, first + group));
      std::fill_n(filled, q.extent(0), index_t{0});
      for (index_t at = 0; at < n; at += key_block) {
        const index_t count = std::min(key_block, n - at);
        const View<float, 2> block{table, {q.extent(0), count}};
        if (q.extent(0) < few)
          score_few(q, keys.rows(at, at + count), scales ? scales + at : nullptr, block);
        else if constexpr (std::is_same_v<Key, float>)
          Gemm::gemm(cpu, Transpose::no, Transpose::yes, q, keys.rows(at, at + count), block);
        else
          Gemm::gemm(cpu, Transpose::no, Transpose::yes, q, unpack(keys.rows(at, at + count), scales + at, unpacked), block);
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

  /// All inner products of a block, without packing its keys. Four keys at a time, a quarter of the block apart: prefetchers follow
  /// each of the four streams, and fetch from memory what one stream of neighbouring keys would have to wait for.
  template <class Key>
  static void score_few(View<const float, 2> queries, View<const Key, 2> keys, const float* scales, View<float, 2> out) {
    const index_t width = keys.extent(1), count = keys.extent(0), quarter = count / 4;
    for (index_t q = 0; q < queries.extent(0); ++q) {
      const float* x = queries.row(q);
      float* to = out.row(q);
      for (index_t j = 0; j < quarter; ++j) {
        float four[4];
        inner_products<4, 1>(x, keys.row(j), quarter * width, width, four);
        for (index_t i = 0; i < 4; ++i) to[j + i * quarter] = four[i];
      }
      for (index_t j = 4 * quarter; j < count; ++j) inner_products<1, 4>(x, keys.row(j), 0, width, to + j);
      if constexpr (!std::is_same_v<Key, float>)
        for (index_t j = 0; j < count; ++j) to[j] *= scales[j];
    }
  }
  template <class Key>
  static View<const float, 2> unpack(View<const Key, 2> keys, const float* scales, float* to) {
    using P = simd::Native<float>;
    const index_t width = keys.extent(1);
    for (index_t j = 0; j < keys.extent(0); ++j) {
      const Key* from = keys.row(j);
      const float scale = scales[j];
      float* row = to + j * width;
      index_t d = 0;
      for (; d + P::lanes <= width; d += P::lanes) (P::load(from + d) * scale).store(row + d);
      for (; d < width; ++d) row[d] = scale * static_cast<float>(from[d]);
    }
    return {to, keys.shape};
  }
  /// Few candidates are kept in order, which costs less than a heap.
  static constexpr bool in_order(index_t k) { return k <= 64; }
  /// Something that at least k of the scores exceed, so that a first block does not begin with hundreds of candidates: each lane
  /// keeps its four largest, of which the row that makes up k scores is taken. -infinity where that is not possible.
  static float lower_bound(const float* scores, index_t count, index_t k) {
    using P = simd::Native<float>;
    constexpr float none = -std::numeric_limits<float>::infinity();
    const index_t row = (k - 1) / P::lanes;
    if (row > 3 || count < 8 * P::lanes) return none;
    P largest[4] = {P(none), P(none), P(none), P(none)};
    for (index_t j = 0; j + P::lanes <= count; j += P::lanes) {
      P rest = P::load(scores + j);
#pragma GCC unroll 4
      for (P& top : largest) {
        const P lower = min(top, rest);
        top = max(top, rest);
        rest = lower;
      }
    }
    return std::nextafter(-(-largest[row]).maximum(), none);
  }
  /// Lets the scores of the keys first .. first + count into the candidates: a list in order, or a heap whose root is the worst of
  /// the k best. Most of them are no candidates: a vector at a time is compared with the worst.
  static void keep_best(const float* scores, index_t count, index_t first, index_t excluded, Candidate* heap, index_t& filled, index_t k) {
    using P = simd::Native<float>;
    constexpr index_t stretch = 4 * P::lanes;
    const float floor = filled < k ? lower_bound(scores, count, k + (excluded >= 0)) : 0;
    const auto bar = [&] { return filled < k ? floor : heap[in_order(k) ? k - 1 : 0].score; };
    const auto look = [&](index_t j) {
      if (!(scores[j] > bar()) || first + j == excluded) return;
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
    };
    index_t j = 0;
    for (; j + stretch <= count; j += stretch) {
      const P a = P::load(scores + j), b = P::load(scores + j + P::lanes), c = P::load(scores + j + 2 * P::lanes), d = P::load(scores + j + 3 * P::lanes);
      if (!greater_bits(max(max(a, b), max(c, d)), P(bar()))) continue;
      const P four[] = {a, b, c, d};
      for (index_t i = 0; i < 4; ++i)
        for (unsigned bits = greater_bits(four[i], P(bar())); bits; bits &= bits - 1) look(j + i * P::lanes + std::countr_zero(bits));
    }
    for (; j < count; ++j) look(j);
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
