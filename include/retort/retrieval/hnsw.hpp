#pragma once
// An approximate index over a knowledge base, for bases that are too large to be searched through; needs hnswlib (the component
// retort::hnsw).

#include <memory>
#include <queue>
#include <retort/backend/cpu_nearest.hpp>
#include <retort/core/rng.hpp>
#include <retort/retrieval/knowledge_base.hpp>

// Without this macro the library's header defines functions that are not inline, and two units of one program do not link. What it
// loses, the library's own distances, is not used here.
#ifndef NO_MANUAL_VECTORIZATION
#define NO_MANUAL_VECTORIZATION
#endif
#include <hnswlib/hnswlib.h>

namespace retort::retrieval {
inline namespace RETORT_ISA {  // its distances are compiled for the machine that the unit names

/// How a graph is built and searched. More links and wider searches find more of the true neighbours, more slowly.
struct HnswOptions {
  index_t links = 16;          ///< of a key per layer (twice as many in the lowest), 2 to 1000
  index_t build_width = 200;   ///< candidates while a key is linked, >= 1
  index_t search_width = 64;   ///< candidates while a query is answered, >= 1; at least k are used
  std::uint64_t seed = 1;      ///< of the keys' layers
};

/// A knowledge base that answers approximately: a hierarchical navigable small-world graph (Malkov & Yashunin, "Efficient and Robust
/// Approximate Nearest Neighbor Search Using Hierarchical Navigable Small World Graphs", PAMI 2020) over its keys, by hnswlib. A query
/// meets some hundreds of keys, whatever their number; scores are exact inner products, but a true neighbour may be missed. Answers
/// the same calls as KnowledgeBase, for instance as the base of predict::Retrieval.
///
/// Built by one thread from fixed seeds: the graph is a function of the keys, their order and the options. The keys exist once,
/// in the base; the graph holds links alone, some 8 * links + 30 bytes a key. Inner products are no distances: recall is good
/// for keys of equal norm (teacher::Projected scales them so), and not promised for others. At most 2^32 - 1 keys.
///
/// Move-only. A failed `add` or `load` leaves everything as it was, but for an `add` that runs out of memory while it links:
/// that leaves an empty base.
template <class Key = float>
class HnswBase {
 public:
  using key_type = Key;

  /// Throws value_error for options out of range.
  explicit HnswBase(HnswOptions options = {}) : options_(options) {
    require<value_error>(options.links >= 2 && options.links <= 1000 && options.build_width >= 1 && options.search_width >= 1,
                         "HnswBase: expected 2 to 1000 links and widths of at least 1, got ", options.links, ", ", options.build_width, " and ",
                         options.search_width);
  }

  const HnswOptions& options() const { return options_; }
  /// The keys and soft labels; its `nearest` is the exact search.
  const KnowledgeBase<Key>& exact() const { return base_; }
  index_t size() const { return base_.size(); }
  index_t width() const { return base_.width(); }
  index_t classes() const { return base_.classes(); }
  View<const Key, 2> keys() const { return base_.keys(); }
  View<const float, 1> scales() const { return base_.scales(); }
  View<const float, 2> soft_labels() const { return base_.soft_labels(); }
  /// Bytes of keys, scales, soft labels and links.
  std::size_t bytes() const { return base_.bytes() + (graph_ ? graph_->links_bytes() : 0); }
  /// An empty base with the same options.
  HnswBase blank() const { return HnswBase(options_); }

  /// Appends keys with their soft labels and links them; errors as KnowledgeBase::add.
  void add(View<const float, 2> keys, View<const float, 2> soft_labels) {
    base_.add(keys, soft_labels);
    try {
      if (!graph_) graph_ = std::make_unique<Graph>(options_, base_.size());
      graph_->extend(base_, options_.seed);
    } catch (...) {
      graph_.reset();
      base_ = KnowledgeBase<Key>();
      throw;
    }
  }

  /// Up to k of the keys nearest to each query, of which most are the nearest ones; otherwise as KnowledgeBase::nearest. Where the graph gives
  /// fewer than k the last places stay empty.
  template <class B>
  Neighbours nearest(B& backend, View<const float, 2> queries, index_t k, View<const index_t, 1> exclude = {}) const {
    return detail::look_up(*this, backend, queries, k, exclude);
  }
  /// The same into memory of the caller's; the library allocates while it searches.
  template <class B>
  void nearest(B&, View<const float, 2> queries, View<index_t, 2> ids, View<float, 2> scores, View<const index_t, 1> exclude = {}) const {
    static_assert(B::host_accessible, "retort: retrieval::HnswBase answers on the CPU backend");
    detail::check_look_up(*this, queries, ids, scores, exclude);
    for (index_t q = 0; q < queries.extent(0); ++q)
      graph_->search(queries.row(q), ids.extent(1), exclude.size() ? exclude.data[q] : -1, ids.row(q), scores.row(q));
  }

  /// Writes three files: PATH.base (a KnowledgeBase), PATH.graph (the library's own format), and last PATH, which holds the options and the
  /// checksums of both. Throws value_error for an empty base, data_error when the file system refuses.
  ///
  /// Layout of PATH, little-endian: "RETORTHN", u32 version, u32 bytes of a key's number, u64 links, build width, search width, seed,
  /// checksum of PATH.base, of PATH.graph, of these 64 bytes with 0 here.
  void save(const std::string& path) const {
    base_.save(path + ".base");
    const std::string temporary = path + ".graph.tmp";
    graph_->save(temporary);
    Header header;
    header.links = static_cast<std::uint64_t>(options_.links);
    header.build_width = static_cast<std::uint64_t>(options_.build_width);
    header.search_width = static_cast<std::uint64_t>(options_.search_width);
    header.seed = options_.seed;
    header.base = checksum(io::MappedFile(path + ".base"));
    header.graph = checksum(io::MappedFile(temporary));
    header.checksum = header.own();
    bool good = std::rename(temporary.c_str(), (path + ".graph").c_str()) == 0;
    std::ofstream out(path + ".tmp", std::ios::binary);
    out.write(reinterpret_cast<const char*>(&header), sizeof header);
    out.close();
    good = good && out.good() && std::rename((path + ".tmp").c_str(), path.c_str()) == 0;
    if (!good) std::remove(temporary.c_str()), std::remove((path + ".tmp").c_str());
    require<data_error>(good, "HnswBase::save: cannot write '", path, "'");
  }

  /// Maps the base and reads the graph; all checksums are verified before hnswlib, which trusts its files, sees a byte. Throws
  /// data_error when a file is missing, truncated, corrupt, of another save, or holds keys of the other type.
  static HnswBase load(const std::string& path) {
    Header header;
    {
      const io::MappedFile file(path);
      require<data_error>(file.size() == sizeof header, "approximate index '", path, "': expected ", sizeof header, " bytes, the file has ", file.size());
      std::memcpy(&header, file.data(), sizeof header);
    }
    require<data_error>(std::memcmp(header.magic, "RETORTHN", 8) == 0, "approximate index '", path, "': no approximate index at byte 0");
    require<data_error>(header.version == 1, "approximate index '", path, "': expected version 1 at byte 8, got ", header.version);
    require<data_error>(header.key_bytes == sizeof(Key), "approximate index '", path, "': expected keys of ", sizeof(Key), " bytes a number at byte 12, got ",
                        header.key_bytes);
    require<data_error>(header.checksum == header.own(), "approximate index '", path, "': corrupt: the checksum of its bytes is not the one at byte 64");
    HnswBase out(HnswOptions{static_cast<index_t>(header.links), static_cast<index_t>(header.build_width), static_cast<index_t>(header.search_width), header.seed});
    out.base_ = KnowledgeBase<Key>::load(path + ".base");
    const auto matches = [&](const char* part, std::uint64_t expected) {
      const io::MappedFile file(path + part);
      require<data_error>(checksum(file) == expected, "approximate index '", path, part, "': truncated, corrupt, or of another save: the checksum of its ", file.size(),
                          " bytes is not the one in '", path, "'");
    };
    matches(".base", header.base);
    matches(".graph", header.graph);
    try {
      out.graph_ = std::make_unique<Graph>(out.options_, path + ".graph", out.base_);
    } catch (const std::runtime_error& problem) {
      throw data_error("approximate index '" + path + ".graph': hnswlib does not read it: " + problem.what());
    }
    require<data_error>(out.graph_->fits(out.base_), "approximate index '", path, ".graph': written by another version of hnswlib, or over another base");
    return out;
  }

 private:
  struct Header {
    char magic[8] = {'R', 'E', 'T', 'O', 'R', 'T', 'H', 'N'};
    std::uint32_t version = 1, key_bytes = sizeof(Key);
    std::uint64_t links = 0, build_width = 0, search_width = 0, seed = 0, base = 0, graph = 0, checksum = 0;
    std::uint64_t own() const {
      Header plain = *this;
      plain.checksum = 0;
      return detail::checksum_words(reinterpret_cast<const unsigned char*>(&plain), sizeof plain, 0);
    }
  };
  static_assert(sizeof(Header) == 72);
  static std::uint64_t checksum(const io::MappedFile& file) {
    unsigned char rest[8] = {};
    const std::size_t whole = file.size() / 8 * 8;
    if (file.size() > whole) std::memcpy(rest, file.data() + whole, file.size() - whole);
    return detail::checksum_words(rest, 8, detail::checksum_words(file.data(), whole, file.size()));
  }

  /// hnswlib's graph over points that are ids of keys; the distance looks the keys up, so that they exist once. A query is a point
  /// that brings its own numbers. Lives on the heap, since the library keeps pointers to it.
  class Graph final : hnswlib::SpaceInterface<float> {
   public:
    Graph(const HnswOptions& options, index_t capacity)
        : index_(this, static_cast<std::size_t>(capacity), static_cast<std::size_t>(options.links), static_cast<std::size_t>(options.build_width)) {
      index_.setEf(static_cast<std::size_t>(options.search_width));
    }
    /// From a file whose checksum is right.
    Graph(const HnswOptions& options, const std::string& path, const KnowledgeBase<Key>& base) : index_(this, path) {
      index_.num_deleted_ = 0;  // version 0.6 leaves it uninitialised
      index_.setEf(static_cast<std::size_t>(options.search_width));
      refer_to(base);
    }
    bool fits(const KnowledgeBase<Key>& base) const {
      return linked() == base.size() && index_.offsetData_ + sizeof(Point) + sizeof(hnswlib::labeltype) == index_.size_data_per_element_;
    }

    index_t linked() const { return static_cast<index_t>(index_.cur_element_count); }
    std::size_t links_bytes() const {
      std::size_t upper = 0;
      for (index_t i = 0; i < linked(); ++i) upper += static_cast<std::size_t>(index_.element_levels_[static_cast<std::size_t>(i)]) * index_.size_links_per_element_;
      return static_cast<std::size_t>(linked()) * index_.size_data_per_element_ + upper;
    }
    /// Links the keys that the base has more of.
    void extend(const KnowledgeBase<Key>& base, std::uint64_t seed) {
      refer_to(base);
      const auto size = static_cast<std::size_t>(base.size());
      if (size > index_.max_elements_) index_.resizeIndex(std::max(size, 2 * index_.max_elements_));
      for (index_t id = linked(); id < base.size(); ++id) {
        // A key's layer depends on its id alone, hence neither on how many calls brought the keys nor on a save between them.
        index_.level_generator_.seed(static_cast<std::uint32_t>(Rng(seed).fork(static_cast<std::uint64_t>(id)).below(0x7ffffffe)) + 1);
        const Point point{id, nullptr};
        index_.addPoint(&point, static_cast<hnswlib::labeltype>(id));
      }
    }
    void search(const float* query, index_t k, index_t excluded, index_t* ids, float* scores) const {
      const Point point{-1, query};
      auto found = index_.searchKnn(&point, static_cast<std::size_t>(k + (excluded >= 0)));
      std::vector<std::pair<float, index_t>> best;
      for (; !found.empty(); found.pop())
        if (const auto id = static_cast<index_t>(found.top().second); id != excluded) best.emplace_back(found.top().first, id);
      std::sort(best.begin(), best.end());
      for (index_t j = 0; j < k; ++j) {
        const bool there = j < static_cast<index_t>(best.size());
        ids[j] = there ? best[static_cast<std::size_t>(j)].second : -1;
        scores[j] = there ? -best[static_cast<std::size_t>(j)].first : -std::numeric_limits<float>::infinity();
      }
    }
    void save(const std::string& path) { index_.saveIndex(path); }

   private:
    struct Point {
      index_t id;
      const float* numbers;  ///< of a query; null in the graph
    };
    void refer_to(const KnowledgeBase<Key>& base) {
      keys_ = base.keys().data;
      scales_ = base.scales().data;
      width_ = base.width();
    }
    static float distance(const void* a, const void* b, const void* self) {
      const auto& graph = *static_cast<const Graph*>(self);
      const auto& one = *static_cast<const Point*>(a);
      const auto& two = *static_cast<const Point*>(b);
      return -(one.numbers ? graph.product(one.numbers, two.id) : two.numbers ? graph.product(two.numbers, one.id) : graph.product(one.id, two.id));
    }
    float product(const float* x, index_t id) const {
      float out;
      cpu::inner_products<1, 4>(x, keys_ + id * width_, 0, width_, &out);
      return KnowledgeBase<Key>::scaled ? out * scales_[id] : out;
    }
    float product(index_t a, index_t b) const {
      if constexpr (KnowledgeBase<Key>::scaled) {
        std::int64_t sum = 0;
        for (index_t d = 0; d < width_; ++d) sum += keys_[a * width_ + d] * keys_[b * width_ + d];
        return static_cast<float>(sum) * scales_[a] * scales_[b];
      } else {
        return product(keys_ + a * width_, b);
      }
    }
    std::size_t get_data_size() override { return sizeof(Point); }
    hnswlib::DISTFUNC<float> get_dist_func() override { return &distance; }
    void* get_dist_func_param() override { return this; }

    const Key* keys_ = nullptr;
    const float* scales_ = nullptr;
    index_t width_ = 0;
    hnswlib::HierarchicalNSW<float> index_;
  };

  HnswOptions options_;
  KnowledgeBase<Key> base_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace RETORT_ISA
}  // namespace retort::retrieval
