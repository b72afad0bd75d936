#pragma once
// How differently a classifier treats two groups, as a penalty with a gradient (RELIANT).

#include <algorithm>
#include <concepts>
#include <retort/autograd/ops_nn.hpp>
#include <retort/functor/distance.hpp>
#include <retort/graph/batch.hpp>
#include <retort/loss/evaluate.hpp>

namespace retort::fair {

// --- squash policies: a smooth stand-in for "the probability passes one half"; functors as in functor/activation.hpp ---------

namespace detail {
/// 1/2 + sum a_k P_k(2p - 1) over the odd Legendre polynomials up to degree nine.
template <class Weights>
struct Legendre {
  static constexpr bool kink = false;
  template <class V>
  RETORT_HD V value(V p) const {
    const V x = V(2) * p - V(1), y = x * x;
    return retort::functor::detail::number<V>(0.5) + x * (c(0, x) + y * (c(1, x) + y * (c(2, x) + y * (c(3, x) + y * c(4, x)))));
  }
  template <class V>
  RETORT_HD V derivative(V p, V) const {
    const V x = V(2) * p - V(1), y = x * x;
    return V(2) * (c(0, x) + y * (V(3) * c(1, x) + y * (V(5) * c(2, x) + y * (V(7) * c(3, x) + y * V(9) * c(4, x)))));
  }

 private:
  /// Coefficient of x^(2k+1).
  template <class V>
  RETORT_HD static V c(int k, V) {
    constexpr Weights a{};
    constexpr double powers[5] = {a.p1 - a.p3 * 3 / 2 + a.p5 * 15 / 8 - a.p7 * 35 / 16 + a.p9 * 315 / 128,
                                  a.p3 * 5 / 2 - a.p5 * 70 / 8 + a.p7 * 315 / 16 - a.p9 * 4620 / 128, a.p5 * 63 / 8 - a.p7 * 693 / 16 + a.p9 * 18018 / 128,
                                  a.p7 * 429 / 16 - a.p9 * 25740 / 128, a.p9 * 12155 / 128};
    return retort::functor::detail::number<V>(powers[k]);
  }
};
struct RawWeights {
  double p1 = 1. / 2, p3 = -1. / 8, p5 = 1. / 16, p7 = -5. / 128, p9 = 7. / 256;
};
struct NormalizedWeights {
  double p1 = 3. / 4, p3 = -7. / 16, p5 = 11. / 32, p7 = -75. / 256, p9 = 133. / 512;
};
}  // namespace detail

/// RELIANT's squash: raw projections of the step on Legendre polynomials, without their norms; gentle and monotone, .074 at 0.
using LegendreRaw = detail::Legendre<detail::RawWeights>;
/// The step's true Legendre series to degree nine; it overshoots: -.12 at 0.
using LegendreNormalized = detail::Legendre<detail::NormalizedWeights>;
/// The probability itself.
struct Identity {
  static constexpr bool kink = false;
  template <class V> RETORT_HD V value(V p) const { return p; }
  template <class V> RETORT_HD V derivative(V, V) const { return V(1); }
};
/// sigmoid(steepness (p - 1/2)).
struct Steep {
  static constexpr bool kink = false;
  double steepness = 10;
  template <class V> RETORT_HD V value(V p) const { return functor::Sigmoid{}.value(functor::detail::number<V>(steepness) * (p - functor::detail::number<V>(0.5))); }
  template <class V> RETORT_HD V derivative(V, V y) const { return functor::detail::number<V>(steepness) * y * (V(1) - y); }
};

// --- which rows count ------------------------------------------------------------------------------------------------------

/// Nodes to train on, the others, all.
struct TrainRows {
  template <class T> static bool has(const GraphView<T>& g, index_t i) { return g.train.data[i] != 0; }
};
struct OtherRows {
  template <class T> static bool has(const GraphView<T>& g, index_t i) { return g.train.data[i] == 0; }
};
struct AllRows {
  template <class T> static bool has(const GraphView<T>&, index_t) { return true; }
};

/// Statistical parity: all rows count.
struct StatisticalParity {
  template <class E> static bool counts(const E&, index_t) { return true; }
};
/// Equal opportunity: rows of class 1 count, by the labels that training knows, or by the teacher's answer where there is none.
struct EqualOpportunity {
  template <class E>
  static bool counts(const E& exchange, index_t i) {
    const auto t = result_of(exchange.teacher).value;
    if (exchange.labels.data[i] >= 0 || !t.data) return exchange.labels.data[i] == 1;
    return std::max_element(t.row(i), t.row(i) + t.extent(1)) - t.row(i) == 1;
  }
};

/// Equal opportunity by the labels of all nodes, those of validation and test too. That is a leak; RELIANT's published code has
/// it (Faithful in method/reliant.hpp).
struct LeakedOpportunity {
  template <class E>
  static bool counts(const E& exchange, index_t i) {
    return exchange.graph->truth.data[i] == 1;
  }
};

/// A squash policy: an element-wise functor as in functor/activation.hpp, from a probability to a soft decision.
template <class S>
concept SquashPolicy = requires(const S& s, double p) {
  { S::kink } -> std::convertible_to<bool>;
  { s.value(p) } -> std::convertible_to<double>;
  { s.derivative(p, p) } -> std::convertible_to<double>;
};
/// A choice of rows: `has(graph, i)`.
template <class R>
concept RowsPolicy = requires(const GraphView<float>& g, index_t i) {
  { R::has(g, i) } -> std::convertible_to<bool>;
};

/// alpha * J with J = sum_c (mean over s=0 of phi(q_c) - mean over s=1 of phi(q_c))^2, q = softmax of the student's logits, over
/// `Rows` of the graph, and phi a squash policy. With two classes J counts the gap twice. Throws value_error when the graph has
/// no sensitive attribute or a group is empty.
template <class Squash = LegendreRaw, class Notion = StatisticalParity, class Rows = OtherRows>
struct GroupGap {
  static_assert(SquashPolicy<Squash>, "retort: fair::GroupGap needs a squash policy: `kink`, `value(p)` and `derivative(p, y)`, as fair::LegendreRaw has them; see "
                                      "retort/fair/group_gap.hpp");
  static_assert(RowsPolicy<Rows>, "retort: fair::GroupGap needs a choice of rows with `static bool has(graph, i)`, as fair::OtherRows; see retort/fair/group_gap.hpp");
  double alpha = 1000;
  Squash squash{};
  static constexpr bool is_group_gap = true;

  template <class E>
  auto evaluate(E& exchange) const {
    return scale(exchange.tape, static_cast<typename std::remove_reference_t<decltype(exchange.tape)>::value_type>(alpha), measure<Rows>(exchange));
  }
  /// J itself, over other rows.
  template <class Of, class E>
  auto measure(E& exchange) const {
    auto& tape = exchange.tape;
    const auto logits = result_of(exchange.student);
    using T = typename decltype(logits)::value_type;
    const index_t n = logits.extent(0);
    require<value_error>(exchange.graph && exchange.graph->sensitive.size() == n, "fair::GroupGap: the batch has no sensitive attribute; set NodeDataset::sensitive");
    const auto& g = *exchange.graph;
    const View<T, 2> weight = tape.allocate(Shape<2>{n, 1});  // +1/|I0| or -1/|I1| or 0
    index_t size[2] = {};
    const auto group = [&](index_t i) { return Of::has(g, i) && Notion::counts(exchange, i) ? g.sensitive.data[i] : -1; };
    for (index_t i = 0; i < n; ++i)
      if (const std::int32_t s = group(i); s >= 0) ++size[s];
    require<value_error>(size[0] > 0 && size[1] > 0, "fair::GroupGap: group s = ", size[0] > 0 ? 1 : 0, " is empty among the rows that count");
    for (index_t i = 0; i < n; ++i) {
      const std::int32_t s = group(i);
      weight.data[i] = s < 0 ? T(0) : s == 0 ? T(1) / static_cast<T>(size[0]) : T(-1) / static_cast<T>(size[1]);
    }
    const auto phi = activate(tape, squash, softmax(tape, logits));
    const auto gap = sum_axis(tape, multiply(tape, phi, tape.constant(weight)), 0);
    return sum(tape, multiply(tape, gap, gap));
  }
};

namespace detail {
template <class First, class... Rest>
const auto& pick_gap(const First& first, const Rest&... rest) {
  if constexpr (requires { First::is_group_gap; })
    return first;
  else {
    static_assert(sizeof...(Rest) > 0, "retort: RELIANT's proxy needs a fair::GroupGap in the loss: loss::Joint<..., fair::GroupGap<...>>; see retort/fair/group_gap.hpp");
    return pick_gap(rest...);
  }
}
}  // namespace detail

/// The GroupGap within a loss: itself or a member of a Joint.
template <class L>
const auto& gap_of(const L& loss) {
  if constexpr (requires { L::is_group_gap; }) {
    return loss;
  } else {
    static_assert(requires { loss.losses; }, "retort: RELIANT's proxy needs a fair::GroupGap in the loss: loss::Joint<..., fair::GroupGap<...>>; see retort/fair/group_gap.hpp");
    return loss.losses.apply([](const auto&... l) -> const auto& { return detail::pick_gap(l...); });
  }
}

}  // namespace retort::fair
