#pragma once
// How training reads data: a set as it is, or a set seen through an augmentation.

#include <cstring>
#include <retort/data/augment.hpp>
#include <retort/data/dataset.hpp>

namespace retort::data {

/// A set of images whose training batches go through an augmentation policy. Refers to the set, which must outlive it:
/// `fit(method, data::augmented(train, data::Pipeline{data::RandomCrop{4}, data::HorizontalFlip{}}), ...)`.
template <class Policy>
struct Augmented {
  const Dataset<4>* dataset;
  Policy policy;
};
template <class Policy>
Augmented<Policy> augmented(const Dataset<4>& dataset, Policy policy) {
  return {&dataset, std::move(policy)};
}

/// No data at all: what `fit` takes with a source that synthesises its batches.
struct None {};

template <int Rank>
const Dataset<Rank>& base(const Dataset<Rank>& d) {
  return d;
}
template <class Policy>
const Dataset<4>& base(const Augmented<Policy>& d) {
  return *d.dataset;
}
/// Data of a graph (data/nodes.hpp, data/graphs.hpp) says so itself: `using graph_data = void`.
template <class D>
concept GraphData = requires { typename D::graph_data; };
template <GraphData D>
const D& base(const D& d) {
  return d;
}
template <class D>
inline constexpr bool is_augmented = requires(const D& d) { d.policy; };
/// Rank of the inputs of a set, augmented or not.
template <class D>
inline constexpr int rank_of = std::remove_cvref_t<decltype(std::declval<const D&>().inputs)>::rank;
template <class Policy>
inline constexpr int rank_of<Augmented<Policy>> = 4;

/// Copies the samples `rows` into `out` (rows.size() x sample shape), augmented as a pure function of (seed, pass, sample).
template <class D, class T, int Rank>
void gather(const D& d, std::span<const index_t> rows, std::uint64_t seed, std::uint64_t pass, View<T, Rank> out) {
  const auto inputs = base(d).inputs.view();
  for (index_t i = 0; i < out.extent(0); ++i) {
    const float* from = inputs.row(rows[static_cast<std::size_t>(i)]);
    T* to = out.row(i);
    for (index_t k = 0; k < out.shape.row_size(); ++k) to[k] = static_cast<T>(from[k]);
  }
  if constexpr (is_augmented<D>) {
    static_assert(std::is_same_v<T, float>, "retort: augmentation works on float images; train on a float backend");
    augment(d.policy, out, rows, seed, pass);
  }
}

/// The same into memory of a backend; through `staging`, which grows to the need, where the host cannot write there.
template <class B, class D, class T, int Rank>
void gather_to(const D& d, std::span<const index_t> rows, std::uint64_t seed, std::uint64_t pass, View<T, Rank> out, Tensor<T, Rank>& staging) {
  if constexpr (B::host_accessible) {
    gather(d, rows, seed, pass, out);
  } else {
    if (staging.size() < out.size()) staging = Tensor<T, Rank>(out.shape);
    gather(d, rows, seed, pass, View<T, Rank>{staging.data(), out.shape});
    B::copy(out.data, staging.data(), static_cast<std::size_t>(out.size()) * sizeof(T));
  }
}

}  // namespace retort::data
