#pragma once
// What a student may look up when it answers: embeddings of the teacher's (keys) beside the teacher's soft labels.

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdio>
#include <fstream>
#include <retort/backend/ops.hpp>
#include <retort/core/finite.hpp>
#include <retort/core/huge_pages.hpp>
#include <retort/core/tensor.hpp>
#include <retort/io/mapped_file.hpp>

namespace retort::retrieval {

static_assert(std::endian::native == std::endian::little, "retort: knowledge bases are written on little-endian machines only");

/// How keys are stored: `float` (4 bytes a number), or `std::int8_t` (1 byte, beside 4 for the key's scale).
template <class K>
concept KeyType = std::is_same_v<K, float> || std::is_same_v<K, std::int8_t>;
#define RETORT_KEY_MESSAGE "retort: a knowledge base keeps its keys as float or as std::int8_t; see retort/retrieval/knowledge_base.hpp"

/// The best keys of each query, the best first: ids (Q x k; -1 where there are no more) and inner products (-infinity there).
struct Neighbours {
  Tensor<index_t, 2> ids;
  Tensor<float, 2> scores;
  index_t queries() const { return ids.extent(0); }
  index_t k() const { return ids.extent(1); }
};

/// What an answer is looked up in: keys with soft labels that gives the keys nearest to queries, exactly (KnowledgeBase) or not
/// (HnswBase). `blank()` is an empty one with the same options.
template <class B>
concept SearchableBase = std::movable<B> && requires(B& base, const B& full, Cpu& cpu, View<const float, 2> rows, View<index_t, 2> ids, View<float, 2> scores,
                                                     View<const index_t, 1> exclude) {
  base.add(rows, rows);
  { full.blank() } -> std::same_as<B>;
  { full.size() } -> std::convertible_to<index_t>;
  { full.classes() } -> std::convertible_to<index_t>;
  { full.soft_labels() } -> std::convertible_to<View<const float, 2>>;
  full.nearest(cpu, rows, ids, scores, exclude);
};
#define RETORT_BASE_MESSAGE                                                                                                     \
  "retort: a predictor's base holds keys and soft labels: `add`, `blank`, `size`, `classes`, `soft_labels` and "                \
  "`nearest(backend, queries, ids, scores, exclude)`; see retort/retrieval/knowledge_base.hpp"

namespace detail {
/// FNV-1a over 64-bit words in four chains: some 10 GB/s, where the bytewise one of the checkpoints has 1. `bytes` is a multiple
/// of 8.
inline std::uint64_t checksum_words(const unsigned char* data, std::size_t bytes, std::uint64_t seed) {
  constexpr std::uint64_t prime = 1099511628211ull;
  std::uint64_t h[4] = {seed, seed + 1, seed + 2, seed + 3};
  for (std::size_t i = 0; i < bytes; i += 8) {
    std::uint64_t word;
    std::memcpy(&word, data + i, 8);
    std::uint64_t& chain = h[i / 8 % 4];
    chain = std::rotl((chain ^ word) * prime, 29);  // the rotation lets high bits reach low ones
  }
  std::uint64_t out = 14695981039346656037ull;
  for (const std::uint64_t chain : h) out = (out ^ chain) * prime;
  return out;
}
/// What every base asks of a look-up of k keys.
template <class Base>
void check_queries(const Base& base, View<const float, 2> queries, index_t k) {
  require<value_error>(base.size() > 0, "KnowledgeBase::nearest: the base is empty; add the training items first");
  require<value_error>(k >= 1, "KnowledgeBase::nearest: expected k of at least 1, got ", k);
  require<shape_error>(queries.extent(1) == base.width(), "KnowledgeBase::nearest: expected queries of width ", base.width(), ", got shape ", queries.shape);
  const index_t bad = first_not_finite(queries);
  require<value_error>(bad < 0, "KnowledgeBase::nearest: query ", bad < 0 ? 0 : bad / base.width(), " is not finite");
}
/// The same of one into given memory.
template <class Base>
void check_look_up(const Base& base, View<const float, 2> queries, View<index_t, 2> ids, View<float, 2> scores, View<const index_t, 1> exclude) {
  check_queries(base, queries, ids.extent(1));
  require<shape_error>(ids.shape == Shape<2>{queries.extent(0), ids.extent(1)} && scores.shape == ids.shape && ids.extent(1) <= base.size(),
                       "KnowledgeBase::nearest: ", queries.extent(0), " queries and ", base.size(), " keys, but results of shapes ", ids.shape, " and ",
                       scores.shape);
  require<shape_error>(exclude.size() == 0 || exclude.size() == queries.extent(0), "KnowledgeBase::nearest: expected ", queries.extent(0),
                       " excluded ids, got ", exclude.size());
}
/// A look-up into memory of its own; of a base of fewer than k keys all of them.
template <class Base, class B>
Neighbours look_up(const Base& base, B& backend, View<const float, 2> queries, index_t k, View<const index_t, 1> exclude) {
  check_queries(base, queries, k);
  const Shape shape{queries.extent(0), std::min(k, base.size())};
  Neighbours out{Tensor<index_t, 2>(shape), Tensor<float, 2>(shape)};
  base.nearest(backend, queries, out.ids.view(), out.scores.view(), exclude);
  return out;
}
}  // namespace detail

/// Keys (N x width) and soft labels (N x classes, rows of sum 1) in memory or in a mapped file. The nearest keys are found
/// exactly, by inner product with what is stored: blocks of scores by matrix products, the best of them kept (O(N * width) per
/// query, no index). Integer keys are rounded to 127 steps of their largest entry when they are added.
///
/// Never add what the student is to be measured on; on the items of the base themselves exclude the item (`exclude`).
/// Move-only. A failed `add` or `load` leaves everything as it was.
template <class Key = float>
class KnowledgeBase {
  static_assert(KeyType<Key>, RETORT_KEY_MESSAGE);

 public:
  using key_type = Key;
  static constexpr bool scaled = !std::is_same_v<Key, float>;

  /// An empty base that takes its extents from what is added first.
  KnowledgeBase() = default;
  /// Throws value_error for fewer than 1 column or 2 classes.
  KnowledgeBase(index_t width, index_t classes) : width_(width), classes_(classes) {
    require<value_error>(width >= 1 && classes >= 2, "KnowledgeBase: expected a width of at least 1 and at least 2 classes, got ", width, " and ", classes);
  }

  /// An empty base of the same kind.
  KnowledgeBase blank() const { return {}; }
  index_t size() const { return size_; }
  index_t width() const { return width_; }
  index_t classes() const { return classes_; }
  bool mapped() const { return file_.data() != nullptr; }
  /// Bytes of keys, scales and soft labels.
  std::size_t bytes() const { return key_bytes(size_) + scale_bytes(size_) + label_bytes(size_); }
  View<const Key, 2> keys() const { return {key_data_, {size_, width_}}; }
  View<const float, 1> scales() const { return {scale_data_, {scaled ? size_ : 0}}; }
  View<const float, 2> soft_labels() const { return {label_data_, {size_, classes_}}; }

  /// Appends keys (M x width) with their soft labels (M x classes). Throws shape_error when widths, classes or numbers of rows
  /// disagree, value_error for an entry that is not finite or a soft label that is no distribution. A base from a file is
  /// copied into memory first.
  void add(View<const float, 2> keys, View<const float, 2> soft_labels) {
    const index_t width = width_ ? width_ : keys.extent(1), classes = classes_ ? classes_ : soft_labels.extent(1);
    require<shape_error>(keys.extent(1) == width, "KnowledgeBase::add: expected keys of width ", width, ", got shape ", keys.shape);
    require<shape_error>(soft_labels.shape == Shape<2>{keys.extent(0), classes}, "KnowledgeBase::add: expected soft labels of shape ",
                         Shape<2>{keys.extent(0), classes}, ", got ", soft_labels.shape);
    require<value_error>(width >= 1 && classes >= 2, "KnowledgeBase::add: expected a width of at least 1 and at least 2 classes, got keys of shape ",
                         keys.shape, " and soft labels of shape ", soft_labels.shape);
    const index_t bad = first_not_finite(keys);
    require<value_error>(bad < 0, "KnowledgeBase::add: entry ", bad < 0 ? 0 : bad % width, " of key ", bad < 0 ? 0 : bad / width, " is not finite");
    for (index_t i = 0; i < soft_labels.extent(0); ++i) {
      double sum = 0;
      bool fine = true;
      for (index_t c = 0; c < classes; ++c) {
        const float p = soft_labels(i, c);
        fine = fine && is_finite(p) && p >= 0;
        sum += static_cast<double>(p);
      }
      require<value_error>(fine && std::abs(sum - 1) < 1e-3, "KnowledgeBase::add: soft label ", i, " is no distribution: its entries add up to ", sum);
    }

    const auto n = static_cast<std::size_t>(keys.extent(0));
    std::vector<Key> new_keys;
    std::vector<float> new_scales, new_labels;
    const auto take = [&](auto& to, auto view, std::size_t more) {
      to.reserve(static_cast<std::size_t>(view.size()) + more);
      to.assign(view.begin(), view.end());
    };
    if (mapped()) take(new_keys, this->keys(), n * static_cast<std::size_t>(width)), take(new_scales, scales(), n), take(new_labels, this->soft_labels(), n * static_cast<std::size_t>(classes));
    auto& all_keys = mapped() ? new_keys : keys_;
    auto& all_scales = mapped() ? new_scales : scales_;
    auto& all_labels = mapped() ? new_labels : labels_;
    reserve(all_keys, n * static_cast<std::size_t>(width));
    if constexpr (scaled) reserve(all_scales, n);
    reserve(all_labels, n * static_cast<std::size_t>(classes));  // from here on nothing throws
    for (index_t i = 0; i < keys.extent(0); ++i) append(keys.row(i), width, all_keys, all_scales);
    all_labels.insert(all_labels.end(), soft_labels.begin(), soft_labels.end());
    if (mapped()) {
      keys_ = std::move(new_keys);
      scales_ = std::move(new_scales);
      labels_ = std::move(new_labels);
      file_ = io::MappedFile();
    }
    width_ = width;
    classes_ = classes;
    size_ += keys.extent(0);
    point_at_memory();
  }

  /// The k keys nearest to each query (Q x width) by inner product; of a smaller base all of them. `exclude` (Q ids, or empty)
  /// leaves out one key per query: the item itself, where the queries are items of the base. Equal scores come in the order of
  /// the ids. Throws value_error for an empty base, k < 1 or a query that is not finite, shape_error for queries of another width.
  template <class B>
  Neighbours nearest(B& backend, View<const float, 2> queries, index_t k, View<const index_t, 1> exclude = {}) const {
    return detail::look_up(*this, backend, queries, k, exclude);
  }
  /// The same into memory of the caller's, Q x k with k <= size().
  template <class B>
  void nearest(B& backend, View<const float, 2> queries, View<index_t, 2> ids, View<float, 2> scores, View<const index_t, 1> exclude = {}) const {
    detail::check_look_up(*this, queries, ids, scores, exclude);
    Kernels<B>::nearest(backend, queries, keys(), scale_data_, exclude, ids, scores);
  }

  /// Writes the base beside `path` and renames it over. Throws data_error when the file system refuses.
  ///
  /// Layout, little-endian: "RETORTKB", u32 version, u32 bytes of a key's number, u64 width, classes, size, checksum; from byte
  /// 64 on keys, scales (integer keys) and soft labels (float), each padded to a multiple of 64 bytes.
  void save(const std::string& path) const {
    require<value_error>(size_ > 0, "KnowledgeBase::save: the base is empty");
    Header header = make_header();
    header.checksum = header.seed();
    const std::string temporary = path + ".tmp";
    std::ofstream out(temporary, std::ios::binary);
    constexpr char zeros[64] = {};
    const auto write = [&](const void* data, std::size_t bytes) {
      out.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
      out.write(zeros, static_cast<std::streamsize>(padded(bytes) - bytes));
    };
    const auto add_up = [&](const void* data, std::size_t bytes) {
      const std::size_t whole = bytes / 8 * 8;
      const auto* p = static_cast<const unsigned char*>(data);
      header.checksum = detail::checksum_words(p, whole, header.checksum);
      unsigned char rest[64] = {};
      if (bytes > whole) std::memcpy(rest, p + whole, bytes - whole);
      header.checksum = detail::checksum_words(rest, padded(bytes) - whole, header.checksum);
    };
    const std::pair<const void*, std::size_t> parts[] = {{key_data_, key_bytes(size_)}, {scale_data_, scale_bytes(size_)}, {label_data_, label_bytes(size_)}};
    for (const auto& part : parts) add_up(part.first, part.second);
    write(&header, sizeof header);
    for (const auto& part : parts) write(part.first, part.second);
    out.close();
    const bool good = out.good() && std::rename(temporary.c_str(), path.c_str()) == 0;
    if (!good) std::remove(temporary.c_str());
    require<data_error>(good, "KnowledgeBase::save: cannot write '", path, "'");
  }

  /// Maps a saved base into memory; its checksum is verified, which reads it once. Throws data_error when the file is missing,
  /// truncated, oversized, corrupt or holds keys of the other type.
  static KnowledgeBase load(const std::string& path) {
    io::MappedFile file(path);
    Header header;
    require<data_error>(file.size() >= sizeof header, "knowledge base '", path, "': expected a header of ", sizeof header, " bytes, the file has ", file.size());
    std::memcpy(&header, file.data(), sizeof header);
    require<data_error>(std::memcmp(header.magic, "RETORTKB", 8) == 0, "knowledge base '", path, "': no knowledge base at byte 0");
    require<data_error>(header.version == 1, "knowledge base '", path, "': expected version 1 at byte 8, got ", header.version);
    require<data_error>(header.key_bytes == sizeof(Key), "knowledge base '", path, "': expected keys of ", sizeof(Key), " bytes a number at byte 12, got ",
                        header.key_bytes);
    const std::uint64_t most = file.size();  // no product below overflows
    require<data_error>(header.width >= 1 && header.classes >= 2 && header.size >= 1 && header.width <= most && header.classes <= most &&
                            header.size <= most / header.width && header.size <= most / header.classes,
                        "knowledge base '", path, "': the extents at byte 16 do not fit a file of ", file.size(), " bytes: width ", header.width, ", classes ",
                        header.classes, ", size ", header.size);
    KnowledgeBase out(static_cast<index_t>(header.width), static_cast<index_t>(header.classes));
    out.size_ = static_cast<index_t>(header.size);
    const std::size_t keys_at = sizeof header, scales_at = keys_at + padded(out.key_bytes(out.size_)),
                      labels_at = scales_at + padded(out.scale_bytes(out.size_)), end = labels_at + padded(out.label_bytes(out.size_));
    require<data_error>(file.size() == end, "knowledge base '", path, "': ", file.size() < end ? "truncated" : "oversized", ": expected ", end,
                        " bytes, found ", file.size());
    std::uint64_t sum = header.seed();
    const std::pair<std::size_t, std::size_t> parts[] = {{keys_at, out.key_bytes(out.size_)}, {scales_at, out.scale_bytes(out.size_)},
                                                         {labels_at, out.label_bytes(out.size_)}};
    for (const auto& part : parts) {
      const std::size_t whole = part.second / 8 * 8;
      sum = detail::checksum_words(file.data() + part.first, whole, sum);
      sum = detail::checksum_words(file.data() + part.first + whole, padded(part.second) - whole, sum);
    }
    require<data_error>(sum == header.checksum, "knowledge base '", path, "': corrupt: the checksum of bytes 0 to ", end, " is not the one at byte 40");
    out.key_data_ = reinterpret_cast<const Key*>(file.data() + keys_at);
    out.scale_data_ = scaled ? reinterpret_cast<const float*>(file.data() + scales_at) : nullptr;
    out.label_data_ = reinterpret_cast<const float*>(file.data() + labels_at);
    out.file_ = std::move(file);
    return out;
  }

 private:
  struct Header {
    char magic[8] = {'R', 'E', 'T', 'O', 'R', 'T', 'K', 'B'};
    std::uint32_t version = 1, key_bytes = sizeof(Key);
    std::uint64_t width = 0, classes = 0, size = 0, checksum = 0;
    unsigned char unused[16] = {};
    std::uint64_t seed() const {  // the header's own contribution to the checksum
      Header plain = *this;
      plain.checksum = 0;
      return detail::checksum_words(reinterpret_cast<const unsigned char*>(&plain), sizeof plain, 0);
    }
  };
  static_assert(sizeof(Header) == 64);
  Header make_header() const {
    Header h;
    h.width = static_cast<std::uint64_t>(width_);
    h.classes = static_cast<std::uint64_t>(classes_);
    h.size = static_cast<std::uint64_t>(size_);
    return h;
  }
  static std::size_t padded(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  std::size_t key_bytes(index_t n) const { return static_cast<std::size_t>(n * width_) * sizeof(Key); }
  std::size_t scale_bytes(index_t n) const { return scaled ? static_cast<std::size_t>(n) * sizeof(float) : 0; }
  std::size_t label_bytes(index_t n) const { return static_cast<std::size_t>(n * classes_) * sizeof(float); }

  /// Room for `more`, growing by doubling.
  template <class V>
  static void reserve(V& v, std::size_t more) {
    if (v.size() + more <= v.capacity()) return;
    V larger;
    larger.reserve(std::max(v.size() + more, 2 * v.capacity()));
    prefer_huge_pages(larger.data(), larger.capacity() * sizeof(*larger.data()));
    larger.insert(larger.end(), v.begin(), v.end());
    v.swap(larger);
  }
  static void append(const float* from, index_t width, std::vector<Key>& keys, std::vector<float>& scales) {
    if constexpr (scaled) {
      float largest = 0;
      for (index_t d = 0; d < width; ++d) largest = std::max(largest, std::abs(from[d]));
      const float scale = largest / 127;
      for (index_t d = 0; d < width; ++d) keys.push_back(static_cast<Key>(scale > 0 ? std::lrint(from[d] / scale) : 0));
      scales.push_back(scale);
    } else {
      keys.insert(keys.end(), from, from + width);
    }
  }
  void point_at_memory() {
    key_data_ = keys_.data();
    scale_data_ = scaled ? scales_.data() : nullptr;
    label_data_ = labels_.data();
  }

  index_t width_ = 0, classes_ = 0, size_ = 0;
  std::vector<Key> keys_;
  std::vector<float> scales_, labels_;
  io::MappedFile file_;
  const Key* key_data_ = nullptr;
  const float *scale_data_ = nullptr, *label_data_ = nullptr;
};

}  // namespace retort::retrieval
