#pragma once
// Classifiers of sentences: N x L token ids to logits. Taps: pooled (the vector of the sentence), classifier.

#include <retort/nn/text.hpp>
#include <retort/nn/zoo/tags.hpp>

namespace retort::nn::zoo {

/// The mean of token vectors, then hidden layers: no word order. The smallest sensible student.
using BagOfWords = Sequential<EmbeddingBag, Relu, Repeat<Sequential<Dropout, Linear, Relu>>, Tap<pooled>, Head>;
/// `bag_of_words(tokens, {64}, 6)`: widths of the token vectors and of further hidden layers. Throws value_error without a width.
inline BagOfWords bag_of_words(index_t tokens, const std::vector<index_t>& widths, index_t classes, float dropout = 0) {
  require<value_error>(!widths.empty(), "zoo::bag_of_words: expected the width of the token vectors");
  Repeat<Sequential<Dropout, Linear, Relu>> hidden;
  for (std::size_t i = 0; i + 1 < widths.size(); ++i)
    hidden.blocks.push_back(Sequential<Dropout, Linear, Relu>(Dropout(dropout), Linear{widths[i], widths[i + 1]}, Relu{}));
  return BagOfWords(EmbeddingBag{tokens, widths.front()}, Relu{}, std::move(hidden), {}, Head{Linear{widths.back(), classes}});
}

/// Convolutions of three, four and five words, the maximum of each channel over the sentence (Kim 2014).
using TextCnn = Sequential<TokenEmbedding, ConvolutionBank, Dropout, Tap<pooled>, Head>;
inline TextCnn text_cnn(index_t tokens, index_t width, index_t channels, index_t classes, float dropout = 0.5f, std::vector<int> kernels = {3, 4, 5}) {
  const auto pooled_width = channels * static_cast<index_t>(kernels.size());
  return TextCnn(TokenEmbedding{tokens, width}, ConvolutionBank{width, channels, std::move(kernels)}, Dropout(dropout), {}, Head{Linear{pooled_width, classes}});
}

/// A small transformer encoder with learned positions, the mean of its last layer's vectors.
using TextTransformer = Sequential<TokenEmbedding, Repeat<TransformerBlock>, LayerNorm, MeanOverTime, Dropout, Tap<pooled>, Head>;
inline TextTransformer text_transformer(index_t tokens, index_t length, index_t width, index_t heads, int layers, index_t classes, float dropout = 0.1f) {
  require<value_error>(layers >= 1, "zoo::text_transformer: expected at least 1 layer, got ", layers);
  return TextTransformer(TokenEmbedding{tokens, width, length},
                         {std::vector<TransformerBlock>(static_cast<std::size_t>(layers), TransformerBlock{width, heads, 4 * width, dropout})}, LayerNorm{width},
                         {}, Dropout(dropout), {}, Head{Linear{width, classes, true, Init::glorot}});
}

}  // namespace retort::nn::zoo
