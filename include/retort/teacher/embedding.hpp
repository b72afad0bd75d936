#pragma once

#include <fstream>
#include <retort/predict/logits.hpp>
#include <retort/projection/projection.hpp>
#include <retort/sample/sample.hpp>
#include <retort/teacher/frozen.hpp>
#include <retort/teacher/table.hpp>

namespace retort {

/// A network's vectors on a whole set, N x n, in evaluation mode: its result, or with a tag the tap of that name, flattened.
template <class Tag = void, class Architecture, class Backend, class Data>
Tensor<float, 2> embeddings_of(Network<Architecture, Backend>& network, const Data& data, context_of<Backend>& backend) {
  using T = scalar_of<Backend>;
  const Tensor<T, 2> exact = predict_logits<T>(backend, data, [&](auto& pass, const auto& batch) {
    const auto output = network.forward(pass, batch.input);
    if constexpr (std::is_void_v<Tag>)
      return flatten(pass.tape, result_of(output));
    else
      return flatten(pass.tape, feature_of(tap<Tag>(output)));
  });
  Tensor<float, 2> out(exact.shape());
  std::transform(exact.begin(), exact.end(), out.begin(), [](T v) { return static_cast<float>(v); });
  return out;
}

namespace teacher {

/// How teacher::Embedding makes its targets. Spans, views and the projection's file must outlive `fit`.
struct EmbeddingOptions {
  index_t fit_on = 0;                       ///< vectors to fit the projection to, chosen by the sampler; 0: all
  std::span<const double> relevance{};      ///< per sample, for samplers that weigh
  std::span<const std::int64_t> group{};    ///< per sample, for samplers that go by groups
  const projection::Affine* fitted = nullptr;  ///< a projection fitted before, elsewhere: nothing is fitted then
  View<const float, 2> embeddings{};        ///< N x n made before by `embeddings_of`, where the teacher sees the samples through
                                            ///< a front end of its own; empty: the teacher is shown what the student is shown
  std::string store{};                      ///< a file that keeps the embeddings from run to run; empty: none
};

/// Answers phi(f(x)): the projected embeddings of a frozen network, computed once before training and looked up by sample
/// (SEA's targets). `Tag` names the tap that is the embedding; void: the network's result. Memory: 4 * N * (n + d) bytes
/// while it is made, 4 * N * d after. No input gradients, no augmented data.
///
/// The store is used when teacher (architecture and weights) and inputs are those it was made from, else it is made anew.
template <class Inner, class Phi = projection::Identity, class Sampler = sample::Uniform, class Tag = void>
class Embedding {
  static_assert(ProjectionPolicy<Phi>, RETORT_PROJECTION_MESSAGE);
  static_assert(SamplerPolicy<Sampler>, RETORT_SAMPLER_MESSAGE);

 public:
  using role = retort::role::teacher;
  static constexpr bool differentiable = false;
  static constexpr bool answers_repeat = true;
  template <class B2>
  using rebind = Embedding<typename Inner::template rebind<B2>, Phi, Sampler, Tag>;

  Embedding(Inner inner, Phi phi = {}, EmbeddingOptions options = {}, Sampler sampler = {})
      : inner_(std::move(inner)), phi_(std::move(phi)), sampler_(std::move(sampler)), options_(std::move(options)) {}
  template <class N>
    requires std::constructible_from<Inner, N&>
  Embedding(N& network, Phi phi = {}, EmbeddingOptions options = {}, Sampler sampler = {})
      : Embedding(Inner(network), std::move(phi), std::move(options), std::move(sampler)) {}

  /// Fits the projection and fills the table, a function of data, teacher and the run's seed; if it throws, nothing changes.
  /// Throws value_error for augmented data and what phi and the sampler throw, shape_error for embeddings of another number
  /// of samples, data_error for a store that cannot be written.
  template <class T, class B, class Data>
  void prepare(const Setup<B>& setup, const Data& data) {
    detail::require_fixed_inputs<Data>("teacher::Embedding");
    require<shape_error>(options_.embeddings.empty() || options_.embeddings.extent(0) == setup.samples, "teacher::Embedding: embeddings ",
                         to_string(options_.embeddings.shape), " for a data set of ", setup.samples);
    Tensor<float, 2> own;
    if (options_.embeddings.empty()) own = recall<B>(setup.backend, data::base(data));
    const View<const float, 2> z = options_.embeddings.empty() ? own.view() : options_.embeddings;
    projection::Affine fitted = options_.fitted ? options_.fitted->copy() : fit_to(z, setup.seed);
    Tensor<float, 2> targets = fitted.transform(z);
    fitted_ = std::move(fitted);
    targets_ = std::move(targets);
  }
  template <class T, class B, class E>
  Var<T, 2> answer(Pass<T, B>& pass, const E& batch) const {
    return detail::table_rows("teacher::Embedding", pass, targets(), batch.ids);
  }

  Inner& inner() { return inner_; }
  /// The projection in use, and the targets N x d; there from the start of `fit`.
  const projection::Affine& phi() const { return fitted_; }
  View<const float, 2> targets() const { return targets_.view(); }
  std::string describe() const {
    return "embeddings of " + inner_.describe() + ", " + (options_.fitted ? std::string("a projection fitted before") : phi_.describe());
  }

 private:
  projection::Affine fit_to(View<const float, 2> z, std::uint64_t seed) const {
    if (options_.fit_on == 0) return phi_.fit(projection::moments_of(z));
    const auto chosen = sampler_.select({z, options_.relevance, options_.group}, options_.fit_on, Rng(seed).fork(0x73616d70));
    projection::Moments moments(z.extent(1));
    for (const index_t i : chosen) moments.add(z.rows(i, i + 1));
    return phi_.fit(moments);
  }
  /// The embeddings from the store if it holds these, else from the network.
  template <class B, class Data>
  Tensor<float, 2> recall(B& backend, const Data& set) {
    auto& network = inner_.network();
    if (options_.store.empty()) return embeddings_of<Tag>(network, set, backend);
    std::uint64_t key = retort::detail::checksum(reinterpret_cast<const char*>(set.inputs.data()), static_cast<std::size_t>(set.inputs.size()) * sizeof(float));
    for (auto& [name, view] : network.tensors()) {
      std::vector<std::remove_cvref_t<decltype(*view.data)>> host(static_cast<std::size_t>(view.size()));
      B::copy(host.data(), view.data, host.size() * sizeof(host[0]));
      key = key * 31 + retort::detail::checksum(reinterpret_cast<const char*>(host.data()), host.size() * sizeof(host[0]));
    }
    const std::string recipe = retort::detail::concat(inner_.describe(), " on ", to_string(set.inputs.shape()), ", key ", key);
    if (std::ifstream(options_.store).good()) {
      const CheckpointReader reader(options_.store);
      if (reader.text("recipe") == recipe) {
        double width = 0;
        reader.read("width", width);
        Tensor<float, 2> z(Shape{set.size(), static_cast<index_t>(width)});
        reader.read("embeddings", z.view().flat());
        return z;
      }
    }
    Tensor<float, 2> z = embeddings_of<Tag>(network, set, backend);
    CheckpointWriter writer;
    writer.add("recipe", recipe);
    writer.add("width", static_cast<double>(z.extent(1)));
    writer.add("embeddings", z.view().flat());
    writer.commit(options_.store);
    return z;
  }

  Inner inner_;
  Phi phi_;
  Sampler sampler_;
  EmbeddingOptions options_;
  projection::Affine fitted_;
  Tensor<float, 2> targets_;
};

}  // namespace teacher
}  // namespace retort
