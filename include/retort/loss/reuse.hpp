#pragma once
// Losses that let the teacher's own classifier judge the student's features.

#include <retort/loss/feature.hpp>

namespace retort::loss {

/// Softmax regression representation learning (Yang et al. 2021, SRRL): with F the student's last map through a 1x1
/// convolution, batch norm and ReLU, pooled, feature * mean (F - F_t)^2 + logits * mean (z' - t)^2, where z' is the
/// teacher's frozen classifier applied to F. `MapTag`: last maps of both; `ClassifierTag`: an nn::Reveal of the teacher's
/// last nn::Linear, which must follow a global average pool of that map.
template <class MapTag, class ClassifierTag, class TeacherMapTag = MapTag>
struct RegressionRepresentation {
  double feature = 1, logits = 5;
  using Connector = connect::Pointwise<nn::Relu>;
  template <class T, class B>
  using State = typename Connector::template State<T, B>;

  template <class S>
  auto make(S& start) const {
    return Connector{}.template make<typename S::scalar, typename S::context>(feature_of(tap<MapTag>(start.exchange.student)).shape(),
                                                                              feature_of(tap<TeacherMapTag>(start.exchange.teacher)).shape(), start.rng);
  }
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    auto& tape = exchange.tape;
    const auto classifier = tap<ClassifierTag>(exchange.teacher);
    static_assert(requires { classifier.weight; }, "retort: SRRL applies the teacher's classifier: put nn::Reveal<Tag, nn::Linear> in place of the "
                                                   "teacher's last layer; see retort/nn/reveal.hpp");
    auto pass = own_pass(exchange);
    const auto s = global_average_pool(tape, Connector{}.forward(state, pass, feature_of(tap<MapTag>(exchange.student))));
    const auto t = global_average_pool(tape, tape.detach(feature_of(tap<TeacherMapTag>(exchange.teacher))));
    const auto z = linear(tape, s, tape.detach(classifier.weight), tape.detach(classifier.bias));
    using T = typename decltype(s)::value_type;
    const auto difference = [&](double weight, Var<T, 2> a, Var<T, 2> b) {
      detail::require_same_shape("loss::RegressionRepresentation", a, b);
      return scale(tape, static_cast<T>(weight), mean_square(tape, subtract(tape, a, b)));
    };
    return add(tape, difference(feature, s, t), difference(logits, z, tape.detach(result_of(exchange.teacher))));
  }
};

/// Factor transfer with its networks (Kim et al. 2018, FT): a paraphraser, an autoencoder with rate k = 0.5, learns the
/// teacher's map for the first `pretraining` epochs; from then on it stands still and the student's translator is told its
/// factors: weight * mean |A(translator(F_s)) - A(paraphraser(F_t))|. In the first epochs this loss leaves the student alone.
template <class Tag, class TeacherTag = Tag>
struct ParaphrasedFactors {
  double weight = 200;
  int pretraining = 30;  ///< epochs
  connect::Translator translator{};

  using Decoder = nn::Sequential<nn::TransposedConv2d, nn::BatchNorm, nn::LeakyRelu, nn::TransposedConv2d, nn::BatchNorm, nn::LeakyRelu,
                                 nn::TransposedConv2d, nn::BatchNorm, nn::LeakyRelu>;
  template <class T, class B>
  struct State {
    nn::Built<connect::Translator::Net, T, B> translator, encoder;
    nn::Built<Decoder, T, B> decoder;
    template <class F>
    void visit(F&& f) {
      translator.visit(nn::under(f, "translator."));
      encoder.visit(nn::under(f, "encoder."));
      decoder.visit(nn::under(f, "decoder."));
    }
  };
  template <class S>
  auto make(S& start) const {
    using T = typename S::scalar;
    using B = typename S::context;
    const index_t in = feature_of(tap<Tag>(start.exchange.student)).extent(3), c = feature_of(tap<TeacherTag>(start.exchange.teacher)).extent(3);
    const index_t factors = translator.narrowed(c);
    const auto up = [](index_t a, index_t b) { return nn::TransposedConv2d{a, b, 3, 1, 1}; };
    auto first = nn::build<T, B>(connect::Translator::net(in, in, factors), start.rng);
    auto second = nn::build<T, B>(connect::Translator::net(c, c, factors), start.rng);
    return State<T, B>{std::move(first), std::move(second),
                       nn::build<T, B>(Decoder(up(factors, factors), nn::BatchNorm{factors}, nn::LeakyRelu(0.1f), up(factors, c), nn::BatchNorm{c},
                                               nn::LeakyRelu(0.1f), up(c, c), nn::BatchNorm{c}, nn::LeakyRelu(0.1f)), start.rng)};
  }
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    auto& tape = exchange.tape;
    const auto t = tape.detach(feature_of(tap<TeacherTag>(exchange.teacher)));
    using T = typename decltype(t)::value_type;
    auto learning = own_pass(exchange);
    if (exchange.progress.epoch < pretraining) {
      const auto again = state.decoder(learning, state.encoder(learning, t));
      return mean_square(tape, subtract(tape, again, t));
    }
    auto frozen = std::remove_cvref_t<decltype(learning)>::frozen(tape);
    const auto [s, f] = detail::pool_larger(tape, state.translator(learning, feature_of(tap<Tag>(exchange.student))), state.encoder(frozen, t));
    return scale(tape, static_cast<T>(weight), FactorTransfer{}(tape, s, f));
  }
};

}  // namespace retort::loss
