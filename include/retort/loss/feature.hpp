#pragma once
// Losses on features rather than logits. Each is a function of two variables of one shape, `loss(tape, student, teacher)`,
// and `OnTaps` puts it into a method: `OnTaps<AttentionTransfer, stage2>`; several of them and the row losses in a `Joint`.

#include <retort/functor/pair.hpp>
#include <retort/loss/connectors.hpp>
#include <retort/loss/evaluate.hpp>
#include <retort/nn/reveal.hpp>

namespace retort::loss {

namespace detail {
template <class T, int R>
void require_same_shape(const char* loss, Var<T, R> s, Var<T, R> t) {
  require<shape_error>(s.shape() == t.shape(), loss, ": the student's feature has shape ", to_string(s.shape()),
                       ", the teacher's ", to_string(t.shape()), "; give OnTaps a connector (loss/connectors.hpp)");
}
/// Losses that compare samples with each other need two. The rest of a data set may be one.
inline void require_pairs(const char* loss, index_t samples) {
  require<value_error>(samples >= 2, loss, ": expected at least 2 samples, got ", samples,
                       "; where that is the rest of a data set, leave it out: source::Dataset{.drop_last = true}");
}
/// Both maps at the smaller of the two heights and widths.
template <class T, class B>
std::pair<Var<T, 4>, Var<T, 4>> pool_larger(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) {
  const index_t h = std::min(s.extent(1), t.extent(1)), w = std::min(s.extent(2), t.extent(2));
  const auto fit = [&](Var<T, 4> x) { return x.extent(1) == h && x.extent(2) == w ? x : adaptive_average_pool(tape, x, h, w); };
  return {fit(s), fit(t)};
}
}  // namespace detail

/// A feature loss between a tap of the student and one of the teacher, times `weight`. A missing tap does not compile.
/// Connectors (loss/connectors.hpp) stand between the taps and the loss and learn with the student. Losses that compare
/// maps position by position (`pools_larger_map`) first average-pool the larger map to the size of the smaller.
template <class FeatureLoss, class StudentTag, class TeacherTag = StudentTag, class StudentConnector = connect::None,
          class TeacherConnector = connect::None>
struct OnTaps {
  static constexpr bool learned = !std::is_same_v<StudentConnector, connect::None> || !std::is_same_v<TeacherConnector, connect::None> ||
                                  retort::loss::learned<FeatureLoss>;
  template <class T, class B>
  using State = nn::StateTuple<typename StudentConnector::template State<T, B>, typename TeacherConnector::template State<T, B>,
                               state_of<FeatureLoss, T, B>>;

  FeatureLoss loss{};
  double weight = 1;
  StudentConnector student{};
  TeacherConnector teacher{};

  template <class S>
  auto make(S& start) const {
    using T = typename S::scalar;
    using B = typename S::context;
    const auto both = features(start.exchange);  // no structured binding: Clang has none in a requires-expression
    const auto s = both.first;
    const auto t = both.second;
    static_assert(requires { student.template make<T, B>(s.shape(), t.shape(), start.rng); } && requires { teacher.template make<T, B>(t.shape(), s.shape(), start.rng); },
                  "retort: a connector does not take what these taps give: connect::Regressor, Pointwise and ThreePointwise stand between maps (N x H x W x C), "
                  "connect::Embedding between any features; see retort/loss/connectors.hpp");
    auto left = student.template make<T, B>(s.shape(), t.shape(), start.rng);
    auto right = teacher.template make<T, B>(t.shape(), s.shape(), start.rng);
    if constexpr (retort::loss::learned<FeatureLoss>)
      return State<T, B>{{{std::move(left)}, {std::move(right)}, {loss.template make<T, B>(t.shape())}}};
    else
      return State<T, B>{{{std::move(left)}, {std::move(right)}, {}}};
  }
  template <class E>
  auto evaluate(E& exchange) const {
    const auto [s, t] = features(exchange);
    if constexpr (requires { FeatureLoss::needs_batch_norm; })
      return weighted(exchange, loss(exchange.tape, s, t, tap<TeacherTag>(exchange.teacher)));
    else
      return weighted(exchange, apply(exchange.tape, s, t));
  }
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    const auto [s, t] = features(exchange);
    auto pass = own_pass(exchange);
    const auto left = student.forward(retort::detail::get<0>(state.states), pass, s);
    const auto right = teacher.forward(retort::detail::get<1>(state.states), pass, t);
    if constexpr (requires { FeatureLoss::needs_batch_norm; })
      return weighted(exchange, loss(exchange.tape, left, right, tap<TeacherTag>(exchange.teacher)));
    else if constexpr (retort::loss::learned<FeatureLoss>)
      return weighted(exchange, loss(pass, retort::detail::get<2>(state.states), left, right));
    else
      return weighted(exchange, apply(exchange.tape, left, right));
  }

 private:
  template <class Tape, class S, class Q>
  auto apply(Tape& tape, S s, Q t) const {
    constexpr bool fits = requires { loss(tape, s, t); };
    static_assert(fits, "retort: this feature loss does not take what these taps give: losses on maps (AT, FT, NST, connectors of convolutions) need "
                        "taps of N x H x W x C, losses on vectors (CC) taps of N x C, and most need one rank on both sides; see retort/loss/feature.hpp");
    if constexpr (fits) return loss(tape, s, t);
  }
  template <class E>
  static auto features(E& exchange) {
    const auto s = feature_of(tap<StudentTag>(exchange.student));
    const auto t = exchange.tape.detach(feature_of(tap<TeacherTag>(exchange.teacher)));
    if constexpr (requires { FeatureLoss::pools_larger_map; } && decltype(s)::rank == 4 && decltype(t)::rank == 4)
      return detail::pool_larger(exchange.tape, s, t);
    else
      return std::pair{s, t};
  }
  template <class E, class V>
  auto weighted(E& exchange, V value) const {
    return scale(exchange.tape, static_cast<typename V::value_type>(weight), value);
  }
};

/// One feature loss on several taps of the same names, added up; each step from the last tap towards the first multiplies
/// its weight by `decay` (1: all alike; 1/2 in AB and OFD).
template <class FeatureLoss, class Connector, class... Tags>
struct OnEachTap {
  static constexpr bool learned = (OnTaps<FeatureLoss, Tags, Tags, Connector>::learned || ...);
  template <class T, class B>
  using State = nn::StateTuple<state_of<OnTaps<FeatureLoss, Tags, Tags, Connector>, T, B>...>;

  FeatureLoss loss{};
  double weight = 1;
  double decay = 1;
  Connector connector{};

  template <class S>
  auto make(S& start) const {
    return joint().make(start);
  }
  template <class E>
  auto evaluate(E& exchange) const {
    return joint().evaluate(exchange);
  }
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    return joint().evaluate(exchange, state);
  }

 private:
  auto joint() const {
    double w = weight;
    for (std::size_t i = 1; i < sizeof...(Tags); ++i) w *= decay;
    const auto next = [&] { return decay == 0 ? 0 : std::exchange(w, w / decay); };
    return Joint<OnTaps<FeatureLoss, Tags, Tags, Connector>...>{  // braces: in order
        OnTaps<FeatureLoss, Tags, Tags, Connector>{.loss = loss, .weight = next(), .student = connector}...};
  }
};

/// Hints (FitNets, Romero et al. 2015): the mean squared difference of two features of one shape. Weight 100.
struct Hint {
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    detail::require_same_shape("loss::Hint", s, t);
    return mean_square(tape, subtract(tape, s, t));
  }
};

namespace detail {
/// A(F) = vec(mean over channels of F^2), scaled to norm 1 per sample. Sum and mean differ by a factor that the norm removes.
template <class T, class B>
Var<T, 2> attention(Tape<T, B>& tape, Var<T, 4> f) {
  return normalized(tape, flatten(tape, mean_axis(tape, multiply(tape, f, f), 3)), 1);
}
}  // namespace detail

/// Attention transfer (Zagoruyko & Komodakis 2017), as their code and RepDistiller compute it: the mean over samples and
/// positions of (A(s) - A(t))^2. Channels may differ. Weight 1000.
struct AttentionTransfer {
  static constexpr bool pools_larger_map = true;
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) const {
    return mean_square(tape, subtract(tape, detail::attention(tape, s), detail::attention(tape, t)));
  }
};
/// Attention transfer as the paper writes it: the batch mean of the (unsquared) distance ||A(s) - A(t)||.
struct AttentionTransferPaper {
  static constexpr bool pools_larger_map = true;
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) const {
    const auto d = subtract(tape, detail::attention(tape, s), detail::attention(tape, t));
    return mean(tape, activate(tape, functor::Sqrt{1e-24}, sum_axis(tape, multiply(tape, d, d), 1)));
  }
};

/// Factor transfer (Kim et al. 2018) of translated and paraphrased features: mean |A(s) - A(t)|. Weight 200.
struct FactorTransfer {
  static constexpr bool pools_larger_map = true;
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) const {
    return mean(tape, activate(tape, functor::Magnitude{}, subtract(tape, detail::attention(tape, s), detail::attention(tape, t))));
  }
};

/// The feature part of SRD as torchdistill has it (after Miles & Mikolajczyk 2024, "Understanding the Role of the Projector in
/// Knowledge Distillation"): 2 log sum |s - t|, the exponent of the distances being 1. Falls without bound as the two meet;
/// the sum is kept above 1e-30. Join it with SoftTargets for the whole of SRD.
struct LogDistance {
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    detail::require_same_shape("loss::LogDistance", s, t);
    const auto distance = sum(tape, activate(tape, functor::Magnitude{}, subtract(tape, s, t)));
    return scale(tape, T(2), activate(tape, functor::Log{}, activate(tape, functor::Shift{1e-30}, distance)));
  }
};

/// Neuron selectivity transfer (Huang & Wang 2017): maximum mean discrepancy between channel activations under the kernel
/// <u, v>^2, channels scaled to norm 1: mean k(t,t) + mean k(s,s) - 2 mean k(s,t). Weight 50.
struct NeuronSelectivity {
  static constexpr bool pools_larger_map = true;
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) const {
    const auto u = normalized(tape, positions(tape, s), 1), v = normalized(tape, positions(tape, t), 1);
    const auto kernel = [&](auto a, auto b) { return mean_square(tape, channel_products(tape, a, b)); };
    return subtract(tape, add(tape, kernel(v, v), kernel(u, u)), scale(tape, T(2), kernel(u, v)));
  }
};

/// Flow of solution procedure (Yim et al. 2017) between two adjacent stages of equal resolution: the mean squared
/// difference of G = (1/HW) sum over positions of F_l (x) F_{l+1}. Channels of student and teacher must agree.
struct Flow {
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s1, Var<T, 4> s2, Var<T, 4> t1, Var<T, 4> t2) const {
    const auto flow = [&](auto a, auto b) {
      return scale(tape, T(1) / static_cast<T>(a.extent(1) * a.extent(2)), channel_products(tape, positions(tape, a), positions(tape, b)));
    };
    const auto gs = flow(s1, s2), gt = flow(t1, t2);
    detail::require_same_shape("loss::Flow", gs, gt);
    return mean_square(tape, subtract(tape, gs, gt));
  }
};

/// Activation boundaries (Heo et al. 2019, AB) of pre-activations: a margin that pushes the student to the teacher's side,
/// (3/1000)/N * sum [(s + m)^2 for s > -m, t <= 0; (s - m)^2 for s <= m, t > 0].
struct ActivationBoundary {
  double margin = 1;
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    detail::require_same_shape("loss::ActivationBoundary", s, t);
    const auto wrong = retort::detail::binary(tape, "loss::ActivationBoundary", functor::SignedBy{}, s, tape.detach(t));
    const auto excess = activate(tape, functor::Relu{}, activate(tape, functor::Shift{margin}, wrong));  // a kink that replays
    return scale(tape, static_cast<T>(0.003) / static_cast<T>(s.extent(0)), sum(tape, multiply(tape, excess, excess)));
  }
};

/// The margin of OFD per channel from a teacher's batch norm with factor gamma and shift beta: the mean of the negative part
/// of N(beta, gamma^2), beta - |gamma| phi(beta/|gamma|) / Phi(-beta/|gamma|); -3 |gamma| where Phi <= 1e-3.
inline double overhaul_margin(double gamma, double beta) {
  const double sigma = std::abs(gamma), negative = sigma > 0 ? 0.5 * std::erfc(beta / sigma / std::sqrt(2.)) : 0;
  if (negative <= 1e-3) return -3 * sigma;
  return beta - sigma * std::exp(-beta * beta / (2 * sigma * sigma)) / (std::sqrt(2 * 3.14159265358979323846) * negative);
}

/// A comprehensive overhaul of feature distillation (Heo et al. 2019, OFD) of pre-activations: with m < 0 the margin of each
/// channel, sum over channels and positions of the batch mean of (s - m)^2 [s > m, t <= m] + (s - t)^2 [s > t, m < t <= 0]
/// + (s - t)^2 [t > 0]. The teacher's tap must be an nn::Reveal<Tag, nn::BatchNorm>. In a method:
/// `OnEachTap<OverhaulFeature, connect::Pointwise<>, stage1, stage2, stage3>{.weight = 1e-3, .decay = 0.5}`.
/// As published (mdistiller) its teacher is left in training mode: teacher::InTraining.
struct OverhaulFeature {
  static constexpr bool needs_batch_norm = true;

  template <class T, class B, class Tapped>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t, const Tapped& teacher) const {
    static_assert(requires { teacher.gamma; }, "retort: OFD needs the teacher's batch norm at its tap: put nn::Reveal<Tag, nn::BatchNorm> there in "
                                               "place of the layer and an nn::Tap; see retort/nn/reveal.hpp");
    const auto gamma = tape.on_host(teacher.gamma.value), beta = tape.on_host(teacher.beta.value);
    const View<T, 4> margin = tape.from_host(Shape<4>{1, 1, 1, t.extent(3)}, [&](View<T, 4> m) {
      for (index_t c = 0; c < m.size(); ++c) m.data[c] = static_cast<T>(overhaul_margin(static_cast<double>(gamma.data[c]), static_cast<double>(beta.data[c])));
    });
    return distance(tape, s, t, tape.constant(margin));
  }
  /// The same with margins of shape (1, 1, 1, C).
  template <class T, class B>
  Var<T, 1> distance(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t, Var<T, 4> margin) const {
    detail::require_same_shape("loss::OverhaulFeature", s, t);
    const auto target = retort::detail::binary(tape, "loss::OverhaulFeature", functor::Maximum{}, tape.detach(t), tape.detach(margin));
    const auto terms = retort::detail::binary(tape, "loss::OverhaulFeature", functor::PartialSquare{}, s, target);
    return scale(tape, T(1) / static_cast<T>(s.extent(0)), sum(tape, terms));
  }
};

/// Variational information distillation (Ahn et al. 2019, VID): the mean of ((mu - t)^2 / sigma^2 + log sigma^2) / 2, mu from
/// the student by connect::ThreePointwise, sigma^2 = softplus(a_c) + 1e-5 per channel, learned, `variance` at first. May be
/// negative. `OnTaps<Variational, Tag, Tag, connect::ThreePointwise>{.weight = 1}`.
struct Variational {
  static constexpr bool pools_larger_map = true;
  double variance = 5;  ///< > 1e-5
  double epsilon = 1e-5;

  template <class T, class B>
  struct State {
    nn::Parameter<T, 1, B> raw;
    template <class F>
    void visit(F&& f) {
      f("raw_variance", raw);
    }
  };
  template <class T, class B>
  State<T, B> make(Shape<4> teacher) const {
    require<value_error>(variance > epsilon, "loss::Variational: expected a variance above ", epsilon, ", got ", variance);
    State<T, B> s{nn::Parameter<T, 1, B>(Shape{teacher[3]}, false)};
    for (T& a : s.raw.value) a = static_cast<T>(std::log(std::expm1(variance - epsilon)));
    return s;
  }
  template <class T, class B>
  Var<T, 1> operator()(Pass<T, B>& pass, State<T, B>& state, Var<T, 4> mu, Var<T, 4> t) const {
    auto& tape = pass.tape;
    detail::require_same_shape("loss::Variational", mu, t);
    const index_t channels = t.extent(3), rows = t.size() / channels;
    const auto d = reshape(tape, subtract(tape, mu, tape.detach(t)), Shape<2>{rows, channels});
    const auto variances = activate(tape, functor::Shift{epsilon}, activate(tape, functor::Softplus{}, reshape(tape, state.raw.var(pass), Shape<2>{1, channels})));
    const auto scaled = divide(tape, scale(tape, T(1) / static_cast<T>(rows), sum_axis(tape, multiply(tape, d, d), 0)), variances);
    return scale(tape, T(0.5), mean(tape, add(tape, scaled, activate(tape, functor::Log{}, variances))));
  }
};

/// FSP between the stages behind two taps of each network, times `weight`: for a first stage of training.
template <class FirstTag, class SecondTag>
struct FlowOnTaps {
  double weight = 50;
  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    const auto pair = [&](const auto& output) {
      return detail::pool_larger(tape, feature_of(tap<FirstTag>(output)), feature_of(tap<SecondTag>(output)));
    };
    const auto s = pair(exchange.student), t = pair(exchange.teacher);
    const auto first = detail::pool_larger(tape, s.first, tape.detach(t.first)), second = detail::pool_larger(tape, s.second, tape.detach(t.second));
    using T = typename decltype(s.first)::value_type;
    return scale(tape, static_cast<T>(weight), Flow{}(tape, first.first, second.first, first.second, second.second));
  }
};

}  // namespace retort::loss
