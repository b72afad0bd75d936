#pragma once

#include <optional>
#include <retort/boost/samme.hpp>
#include <retort/censor/weights.hpp>
#include <retort/loss/adaptive_temperature.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/method/hinton.hpp>
#include <retort/source/graph.hpp>
#include <retort/teacher/cached.hpp>
#include <retort/train/fit.hpp>

namespace retort {

namespace detail {
/// The labels that training may see, `ignored_label` elsewhere.
template <class Data>
std::vector<std::int32_t> training_labels(const Data& data) {
  const auto& set = data::base(data);
  if constexpr (requires { set.train; }) {
    std::vector<std::int32_t> out(set.labels.size(), ignored_label);
    for (const index_t i : set.train) out[static_cast<std::size_t>(i)] = set.labels[static_cast<std::size_t>(i)];
    return out;
  } else {
    return set.labels;
  }
}
struct NoLinkCallbacks {
  template <class Net>
  std::tuple<> operator()(Net&, int) const {
    return {};
  }
};
}  // namespace detail

/// A chain of whole trainings through different networks, each teaching the next; between links `Boost` re-weighs the labels by
/// what the teacher just trained makes of them. The first link learns from labels alone,
///   link m from mean_{labelled} w_i CE(y_i, s_i) + KnowledgeLoss(teacher's logits, s), over all samples, without the weights.
/// The teacher's logits are computed once; a teacher with feature taps is asked at each step, for a loss of features (LSP).
/// The last network is the product. Train it with fit_chain. Works on graphs, tables and images alike.
template <class KnowledgeLoss, class Boost, class Backend, class... Nets>
class Chain {
  static_assert(boost::BoostPolicy<Boost>, RETORT_BOOST_MESSAGE);
  static_assert(sizeof...(Nets) >= 1, "retort: a Chain needs at least one architecture; see retort/method/bgnn.hpp");

 public:
  using backend = Backend;
  using knowledge_loss = KnowledgeLoss;
  static constexpr std::size_t links = sizeof...(Nets);
  template <std::size_t I>
  using network_type = Network<std::tuple_element_t<I, std::tuple<Nets...>>, Backend>;
  template <class L> using with_knowledge = Chain<L, Boost, Backend, Nets...>;
  template <class X> using with_boost = Chain<KnowledgeLoss, X, Backend, Nets...>;

  struct Options {
    KnowledgeLoss knowledge{};
    Boost boost{};
  };
  explicit Chain(Nets... in_order) : architectures(std::move(in_order)...) {}
  Chain(std::tuple<Nets...> in_order, Options options) : architectures(std::move(in_order)), options(std::move(options)) {}

  std::tuple<Nets...> architectures;
  Options options;

  /// The network of a link, there after fit_chain.
  template <std::size_t I>
  network_type<I>& network() {
    require<error>(std::get<I>(networks_).has_value(), "Chain: link ", I, " is not trained; call fit_chain");
    return *std::get<I>(networks_);
  }
  /// The product: the last network.
  auto& result() { return network<links - 1>(); }
  /// The label weights of link I, by position in the data set.
  const std::vector<float>& weights(std::size_t link) const { return weights_.at(link); }

 private:
  template <class L, class Bo, class B, class... Ns, class Data, class Optimizer, class Callbacks>
  friend std::vector<Report> fit_chain(Chain<L, Bo, B, Ns...>&, const Data&, const Optimizer&, const FitOptions&, Callbacks&&, std::size_t);

  template <class Which>
  struct holder;
  template <std::size_t... I>
  struct holder<std::index_sequence<I...>> {
    using type = std::tuple<std::optional<network_type<I>>...>;
  };
  using networks_type = typename holder<std::index_sequence_for<Nets...>>::type;

  /// Trains link I into `made`, or copies it there when it is before `from`; then those behind it.
  template <std::size_t I, class Data, class Optimizer, class Callbacks>
  void train(networks_type& made, std::vector<std::vector<float>>& weights, std::vector<Report>& reports, const Data& data, const Optimizer& optimizer,
             const FitOptions& given, Callbacks& callbacks, std::size_t from) {
    if (I < from) {
      require<error>(std::get<I>(networks_).has_value(), "fit_chain: link ", I, " is not trained, so the chain cannot go on from link ", from);
      std::get<I>(made).emplace(std::get<I>(networks_)->clone());
      weights.push_back(weights_[I]);
    } else {
      train_link<I>(made, weights, reports, data, optimizer, given, callbacks);
    }
    if constexpr (I + 1 < links) train<I + 1>(made, weights, reports, data, optimizer, given, callbacks, from);
  }
  template <std::size_t I, class Data, class Optimizer, class Callbacks>
  void train_link(networks_type& made, std::vector<std::vector<float>>& weights, std::vector<Report>& reports, const Data& data, const Optimizer& optimizer,
                  const FitOptions& given, Callbacks& callbacks) const {
    using Net = std::tuple_element_t<I, std::tuple<Nets...>>;
    FitOptions own = given;
    own.seed = Rng(given.seed).fork(I).at(0);
    auto& student = std::get<I>(made).emplace(std::get<I>(architectures), own.seed);
    auto calls = callbacks(student, static_cast<int>(I));
    const auto run = [&](auto& method) { std::apply([&](auto&... c) { reports.push_back(fit(method, data, optimizer, own, c...)); }, calls); };
    if constexpr (I == 0) {
      weights.push_back(std::vector<float>(static_cast<std::size_t>(data::base(data).size()), 1.f));
      using Labels = typename LabelsOnly<Net, Backend>::template with_loss<loss::CrossEntropy<TokenMean>>;
      Labels method{teacher::None{}, student};
      run(method);
    } else {
      auto& teacher = *std::get<I - 1>(made);
      using Before = std::tuple_element_t<I - 1, std::tuple<Nets...>>;
      using Frozen = retort::teacher::Frozen<Before, Backend>;
      using Teacher = std::conditional_t<nn::has_taps<Before>, Frozen, retort::teacher::Cached<Frozen>>;
      using Loss = loss::Joint<loss::CrossEntropy<TokenMean>, loss::Unweighted<KnowledgeLoss>>;
      using Link = Distiller<Teacher, student::Trainable<Net, Backend>, Loss, censor::Weights, source::Dataset, predict::StudentOnly, Backend>;
      context_of<Backend> backend(given.threads);
      const auto logits = predict_logits(teacher, data::base(data), backend);
      auto next = weights.back();
      options.boost.update(std::span<float>(next), View<const scalar_of<Backend>, 2>(logits.view()), detail::training_labels(data));
      weights.push_back(next);
      Link method{teacher, student, Loss(loss::CrossEntropy<TokenMean>{}, loss::Unweighted<KnowledgeLoss>{options.knowledge}), censor::Weights{std::move(next)}};
      run(method);
    }
  }

  networks_type networks_;
  std::vector<std::vector<float>> weights_;
};

/// Trains the links of a chain in order, each from a fresh network; seeds are a function of `options.seed` and the link.
/// `callbacks(network, link)` gives the callbacks of a link as a tuple. Returns the reports in order. If a link throws, the chain
/// is as it was. `from`: links before this one are kept as they are, which other options of the chain may share; throws error
/// where they are not trained.
template <class L, class Bo, class B, class... Ns, class Data, class Optimizer, class Callbacks = detail::NoLinkCallbacks>
std::vector<Report> fit_chain(Chain<L, Bo, B, Ns...>& chain, const Data& data, const Optimizer& optimizer, const FitOptions& options = {}, Callbacks&& callbacks = {},
                              std::size_t from = 0) {
  require<value_error>(from < sizeof...(Ns), "fit_chain: a chain of ", sizeof...(Ns), " links cannot go on from link ", from);
  typename Chain<L, Bo, B, Ns...>::networks_type made;
  std::vector<std::vector<float>> weights;
  std::vector<Report> reports;
  chain.template train<0>(made, weights, reports, data, optimizer, options, callbacks, from);
  chain.networks_ = std::move(made);
  chain.weights_ = std::move(weights);
  return reports;
}

/// BGNN: a chain of different graph networks; each teaches the next through a cross-entropy at a temperature learned for each
/// node, tau_i in [1, 4], beside labels that SAMME.R weighs: w CE(s, y) + lambda H(softmax(t/tau), softmax(s/tau)).
/// Guo et al. 2023, "Boosting Graph Neural Networks via Adaptive Knowledge Distillation". Example: examples/boosted_graph.cpp.
template <class... Nets>
using Bgnn = Chain<loss::AdaptiveTemperature<loss::SoftCrossEntropy<BatchMean, loss::NoTSquared>>, boost::SammeR<boost::OneHotCode>, Cpu, Nets...>;

/// The control: soft targets at a fixed temperature through the same chain, labels unweighted (with equal networks: born-again).
template <class... Nets>
using SoftTargetChain = Chain<loss::SoftTargets, boost::None, Cpu, Nets...>;

}  // namespace retort
