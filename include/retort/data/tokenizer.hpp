#pragma once
// Sentences to token ids: whole words, or WordPiece. Deterministic, byte by byte: lower case for ASCII letters, punctuation apart,
// bytes above 127 belong to words. The id 0 is padding.

#include <algorithm>
#include <map>
#include <retort/data/dataset.hpp>
#include <retort/data/file.hpp>
#include <string_view>
#include <unordered_map>

namespace retort::data {

/// The words of a text: runs of letters, digits and bytes above 127, in lower case; each ASCII punctuation mark is a word.
inline std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  bool open = false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte > 127;
    if (byte <= ' ' || byte == 127) {
      open = false;
    } else if (letter) {
      if (!open) words.emplace_back();
      words.back() += byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : c;
      open = true;
    } else {
      words.emplace_back(1, c);
      open = false;
    }
  }
  return words;
}

namespace detail {
/// Lines of a text file, without their ends; a last empty one does not count.
inline std::vector<std::string> lines_of(const FileBytes& file) {
  std::vector<std::string> lines;
  std::string_view rest(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    lines.emplace_back(line);
  }
  return lines;
}
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using Vocabulary = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;
}  // namespace detail

/// Turns a text into ids in [1, size()); 0 is left for padding.
template <class K>
concept Tokenizer = requires(const K& k, std::string_view text) {
  { k.encode(text) } -> std::same_as<std::vector<std::int32_t>>;
  { k.size() } -> std::convertible_to<index_t>;
};
#define RETORT_TOKENIZER_MESSAGE                                                                                          \
  "retort: data::tokens needs a tokenizer: `encode(text)` giving a std::vector<std::int32_t> of ids from 1, and `size()`; see " \
  "retort/data/tokenizer.hpp"

/// Whole words. Ids: 0 padding, 1 unknown, then words by falling count, equals in the order of their bytes.
class Words {
 public:
  struct Options {
    index_t least = 1;  ///< times that a word must occur to have an id of its own
    index_t most = 0;   ///< words at the most, the frequent first; 0: all
  };
  /// The vocabulary of some texts (training texts alone, so that nothing of the test set is known).
  static Words from(const std::vector<std::string>& texts, const Options& options) {
    std::map<std::string, index_t> counts;
    for (const std::string& text : texts)
      for (std::string& word : split_words(text)) ++counts[std::move(word)];
    std::vector<std::pair<std::string, index_t>> by_count(counts.begin(), counts.end());
    std::stable_sort(by_count.begin(), by_count.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    std::vector<std::string> words;
    for (auto& [word, count] : by_count)
      if (count >= options.least && (options.most == 0 || static_cast<index_t>(words.size()) < options.most)) words.push_back(std::move(word));
    return Words(std::move(words));
  }
  static Words from(const std::vector<std::string>& texts) { return from(texts, Options{}); }
  /// Words in the order of their ids, from 2. Throws value_error for a word that comes twice.
  explicit Words(std::vector<std::string> words) : words_(std::move(words)) {
    for (std::size_t i = 0; i < words_.size(); ++i)
      require<value_error>(ids_.emplace(words_[i], static_cast<std::int32_t>(i + 2)).second, "data::Words: '", words_[i], "' comes twice");
  }
  std::vector<std::int32_t> encode(std::string_view text) const {
    std::vector<std::int32_t> out;
    for (const std::string& word : split_words(text)) {
      const auto at = ids_.find(word);
      out.push_back(at == ids_.end() ? 1 : at->second);
    }
    return out;
  }
  index_t size() const { return static_cast<index_t>(words_.size()) + 2; }
  const std::vector<std::string>& words() const { return words_; }

 private:
  std::vector<std::string> words_;
  detail::Vocabulary ids_;
};

/// WordPiece over a vocabulary file as BERT's uncased models ship it, one piece per line, its id the line's number: each word is cut
/// from the left into the longest pieces that the vocabulary has, pieces within a word written with ## (Wu et al. 2016). A word
/// that cannot be cut, or is longer than 100 bytes, is [UNK]. Accents are not stripped, so non-ASCII words are often unknown.
class WordPiece {
 public:
  struct Options {
    bool frame = false;  ///< [CLS] before and [SEP] behind each text
  };
  /// Throws data_error when the file is missing, its first line is not [PAD], or [UNK] (with `frame` [CLS], [SEP]) is missing, or a
  /// piece comes twice.
  explicit WordPiece(const std::string& path) : WordPiece(path, Options{}) {}
  WordPiece(const std::string& path, const Options& options) {
    const auto lines = detail::lines_of(read_file(path));
    for (std::size_t i = 0; i < lines.size(); ++i)
      require<data_error>(pieces_.emplace(lines[i], static_cast<std::int32_t>(i)).second, path, ", line ", i + 1, ": the piece '", lines[i], "' comes twice");
    require<data_error>(!lines.empty() && lines[0] == "[PAD]", path, ", line 1: expected [PAD], found '", lines.empty() ? "" : lines[0], "'");
    const auto special = [&](const char* name) {
      const auto at = pieces_.find(std::string_view(name));
      require<data_error>(at != pieces_.end(), path, ": the vocabulary has no ", name);
      return at->second;
    };
    unknown_ = special("[UNK]");
    if (options.frame) first_ = special("[CLS]"), last_ = special("[SEP]");
  }
  std::vector<std::int32_t> encode(std::string_view text) const {
    std::vector<std::int32_t> out;
    if (first_ >= 0) out.push_back(first_);
    std::string piece;
    for (const std::string& word : split_words(text)) {
      const std::size_t before = out.size();
      bool whole = word.size() <= longest;
      for (std::size_t at = 0; whole && at < word.size();) {
        std::size_t end = word.size();
        auto found = pieces_.end();
        for (; end > at; --end) {
          piece = (at > 0 ? "##" : "") + word.substr(at, end - at);
          if ((found = pieces_.find(piece)) != pieces_.end()) break;
        }
        whole = found != pieces_.end();
        if (whole) out.push_back(found->second), at = end;
      }
      if (!whole) out.resize(before), out.push_back(unknown_);
    }
    if (last_ >= 0) out.push_back(last_);
    return out;
  }
  index_t size() const { return static_cast<index_t>(pieces_.size()); }

 private:
  static constexpr std::size_t longest = 100;
  detail::Vocabulary pieces_;
  std::int32_t unknown_ = -1, first_ = -1, last_ = -1;
};

}  // namespace retort::data
