#pragma once
// A labelled set in host memory, and the operations that every loader and method needs.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <retort/backend/cpu.hpp>
#include <retort/core/finite.hpp>
#include <retort/core/rng.hpp>
#include <retort/core/tensor.hpp>
#include <span>
#include <string>
#include <vector>

namespace retort {

template <int Rank>
struct TrainTest;

/// Samples with class labels, or without: no labels and 0 classes. Rank 2: N x features (tabular); rank 4: N x H x W x C (images, NHWC); in general the first
/// axis counts samples. Move-only, as tensors are; `subset` copies.
template <int Rank>
struct Dataset {
  static_assert(Rank >= 2, "retort::Dataset: the first axis counts samples, so the rank is at least 2");

  Tensor<float, Rank> inputs;
  std::vector<std::int32_t> labels;  ///< one per sample, in [0, classes); empty: an unlabelled set
  int classes = 0;                   ///< 0: an unlabelled set
  std::string name;  ///< for messages and reports

  /// Number of samples.
  index_t size() const { return inputs.extent(0); }
  /// Whether there are labels.
  bool labelled() const { return !labels.empty() || classes != 0; }
  /// The labels as losses and metrics take them.
  View<const std::int32_t, 1> label_view() const { return {labels.data(), {static_cast<index_t>(labels.size())}}; }

  /// Throws shape_error when inputs and labels differ in number, and value_error when the set is empty, has fewer than
  /// two classes (but for an unlabelled set), holds a label outside [0, classes) or an input that is not finite.
  void validate() const {
    require<value_error>(!inputs.empty(), "dataset '", name, "' is empty: inputs ", to_string(inputs.shape()));
    if (labelled()) {
      require<shape_error>(static_cast<index_t>(labels.size()) == size(), "dataset '", name, "': ", size(), " inputs ",
                           to_string(inputs.shape()), " but ", labels.size(), " labels");
      require<value_error>(classes >= 2, "dataset '", name, "': expected at least 2 classes, got ", classes);
    }
    for (std::size_t i = 0; i < labels.size(); ++i)
      require<value_error>(labels[i] >= 0 && labels[i] < classes, "dataset '", name, "': sample ", i, " has label ",
                           labels[i], ", expected 0 to ", classes - 1);
    const index_t bad = first_not_finite(inputs.view());
    require<value_error>(bad < 0, "dataset '", name, "': sample ", bad / inputs.shape().row_size(), ", element ",
                         bad % inputs.shape().row_size(), " is not finite");
  }

  /// The samples at `indices`, in that order; repeats are allowed. Throws value_error for an index outside [0, size()).
  Dataset subset(std::span<const index_t> indices) const {
    for (const index_t i : indices)
      require<value_error>(i >= 0 && i < size(), "dataset '", name, "': expected an index from 0 to ", size() - 1,
                           ", got ", i);
    Shape<Rank> shape = inputs.shape();
    shape[0] = static_cast<index_t>(indices.size());
    Dataset out{Tensor<float, Rank>(shape), {}, classes, name};
    out.labels.reserve(indices.size());
    const auto bytes = static_cast<std::size_t>(shape.row_size()) * sizeof(float);
    for (index_t i = 0; i < shape[0]; ++i) {
      const index_t from = indices[static_cast<std::size_t>(i)];
      std::memcpy(out.inputs.view().row(i), inputs.view().row(from), bytes);
      if (labelled()) out.labels.push_back(labels[static_cast<std::size_t>(from)]);
    }
    return out;
  }

  /// Stratified random split, a pure function of `seed`: about `fraction` of each class goes to `train`, the rest to
  /// `test`, both in the original order. A class with two or more samples is in both parts; a single sample goes to
  /// `train`. Throws value_error when `fraction` is not inside (0, 1) or a part would be empty.
  TrainTest<Rank> split(double fraction, std::uint64_t seed) const {
    require<value_error>(fraction > 0 && fraction < 1, "dataset '", name, "': expected a fraction between 0 and 1, got ",
                         fraction);
    validate();
    require<value_error>(labelled(), "dataset '", name, "': a stratified split needs labels");
    std::vector<std::vector<index_t>> members(static_cast<std::size_t>(classes));
    for (std::size_t i = 0; i < labels.size(); ++i)
      members[static_cast<std::size_t>(labels[i])].push_back(static_cast<index_t>(i));
    std::vector<index_t> first, second;
    for (std::size_t c = 0; c < members.size(); ++c) {
      auto& own = members[c];
      if (own.empty()) continue;
      Rng rng = Rng(seed).fork(c);
      rng.shuffle(own);
      const auto count = static_cast<index_t>(own.size());
      const auto wanted = static_cast<index_t>(std::llround(fraction * static_cast<double>(count)));
      const index_t take = count == 1 ? 1 : std::clamp<index_t>(wanted, 1, count - 1);
      first.insert(first.end(), own.begin(), own.begin() + take);
      second.insert(second.end(), own.begin() + take, own.end());
    }
    require<value_error>(!second.empty(), "dataset '", name, "': too few samples to split: no class has two of them");
    std::sort(first.begin(), first.end());
    std::sort(second.begin(), second.end());
    return {subset(first), subset(second)};
  }
};

/// Two parts of a set: the one to learn from and the one held out.
template <int Rank>
struct TrainTest {
  Dataset<Rank> train, test;
};

}  // namespace retort
