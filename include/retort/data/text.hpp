#pragma once
// Labelled sentences, and how they become a Dataset of token ids.

#include <charconv>
#include <retort/data/tokenizer.hpp>

namespace retort::data {

/// Sentences with class labels, as they stand in the file.
struct Text {
  std::vector<std::string> sentences;
  std::vector<std::int32_t> labels;
  int classes = 0;
  std::string name;

  index_t size() const { return static_cast<index_t>(sentences.size()); }
};

/// A file of one sentence per line: an integer label, a space, the sentence (SST-2, TREC). `classes` 0: one more than the largest
/// label. Throws data_error naming file and line: a label that is none or outside [0, classes), a line without a sentence, no lines.
inline Text load_text(const std::string& path, int classes = 0) {
  Text out{{}, {}, classes, path};
  index_t number = 0;
  for (const std::string& line : detail::lines_of(read_file(path))) {
    ++number;
    std::int32_t label = -1;
    const auto [end, status] = std::from_chars(line.data(), line.data() + line.size(), label);
    const auto used = static_cast<std::size_t>(end - line.data());
    require<data_error>(status == std::errc() && label >= 0 && (classes == 0 || label < classes), path, ", line ", number, ": expected a label ",
                        classes ? retort::detail::concat("from 0 to ", classes - 1) : "of 0 or more", ", found '", line.substr(0, 40), "'");
    require<data_error>(used + 1 < line.size() && line[used] == ' ', path, ", line ", number, ": expected a space and a sentence behind the label, found '",
                        line.substr(0, 40), "'");
    out.labels.push_back(label);
    out.sentences.push_back(line.substr(used + 1));
  }
  require<data_error>(!out.labels.empty(), path, ": no sentences");
  if (classes == 0) out.classes = 1 + *std::max_element(out.labels.begin(), out.labels.end());
  return out;
}

/// A published split; `validation` is empty where none was published.
struct TextSplit {
  Text train, validation, test;
};

/// TREC's questions by what they ask for, 6 classes (Li & Roth 2002): 5452 to learn from, 500 held out. `folder` holds TREC.train.all
/// and TREC.test.all.
inline TextSplit load_trec(const std::string& folder) {
  TextSplit out{load_text(folder + "/TREC.train.all", 6), {}, load_text(folder + "/TREC.test.all", 6)};
  out.train.name = "TREC";
  out.test.name = "TREC test";
  return out;
}

/// SST-2: sentences of film reviews, negative or positive (Socher et al. 2013): 6920, 872 and 1821. `folder` holds
/// stsa.binary.train, .dev and .test.
inline TextSplit load_sst2(const std::string& folder) {
  const auto one = [&](const char* part, const char* name) {
    Text t = load_text(folder + "/stsa.binary." + part, 2);
    t.name = name;
    return t;
  };
  return {one("train", "SST-2"), one("dev", "SST-2 validation"), one("test", "SST-2 test")};
}

/// Token ids of the sentences as numbers, N x length: longer ones are cut, shorter ones end in zeros. What nn::TokenEmbedding and
/// nn::EmbeddingBag take. Throws value_error for a length below 1 or an empty text.
template <class K>
Dataset<2> tokens(const Text& text, const K& tokenizer, index_t length) {
  static_assert(Tokenizer<K>, RETORT_TOKENIZER_MESSAGE);
  require<value_error>(length >= 1 && text.size() > 0, "data::tokens: expected at least 1 sentence and a length of at least 1, got ", text.size(), " and ", length);
  require<value_error>(tokenizer.size() < (index_t{1} << 24), "data::tokens: a float holds ids below 2^24, the vocabulary has ", tokenizer.size());
  Dataset<2> out{Tensor<float, 2>(Shape{text.size(), length}), text.labels, text.classes, text.name};
  for (index_t i = 0; i < text.size(); ++i) {
    const auto ids = tokenizer.encode(text.sentences[static_cast<std::size_t>(i)]);
    for (index_t t = 0; t < std::min(length, static_cast<index_t>(ids.size())); ++t) out.inputs(i, t) = static_cast<float>(ids[static_cast<std::size_t>(t)]);
  }
  return out;
}

}  // namespace retort::data
