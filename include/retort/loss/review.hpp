#pragma once
// Knowledge review (Chen et al. 2021, "Distilling Knowledge via Knowledge Review"): each stage of the student, fused with the
// deeper ones, answers to the teacher's stage.

#include <retort/loss/feature.hpp>

namespace retort::loss {

/// Hierarchical context loss of two maps: the mean squared difference, and those of both maps average-pooled to 4, 2 and 1
/// where that is smaller than the map, each with half the weight of the one before; divided by the sum of the weights.
struct HierarchicalContext {
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) const {
    detail::require_same_shape("loss::HierarchicalContext", s, t);
    auto value = mean_square(tape, subtract(tape, s, t));
    double weight = 1, total = 1;
    for (index_t size : {4, 2, 1}) {
      if (size >= s.extent(1)) continue;
      weight /= 2, total += weight;
      const auto pooled = [&](Var<T, 4> x) { return adaptive_average_pool(tape, x, size, size); };
      value = add(tape, value, scale(tape, static_cast<T>(weight), mean_square(tape, subtract(tape, pooled(s), pooled(t)))));
    }
    return scale(tape, static_cast<T>(1 / total), value);
  }
};

namespace detail {
/// A map, or a pooled vector as a map of one pixel.
template <class T, class B, int R>
Var<T, 4> as_map(Tape<T, B>& tape, Var<T, R> x) {
  static_assert(R == 4 || R == 2, "retort: KnowledgeReview takes taps of maps (N x H x W x C) or of pooled vectors (N x C)");
  if constexpr (R == 4)
    return x;
  else
    return reshape(tape, x, Shape<4>{x.extent(0), 1, 1, x.extent(1)});
}
}  // namespace detail

/// ReviewKD over taps named from the shallowest to the deepest, pre-activations and last the pooled vector. Attention-based
/// fusion goes from the deepest to the shallowest: x to `middle` channels (1x1 convolution, batch norm); beside the residual
/// y of the deeper stage, z = sigmoid(1x1 convolution of [x, y]) and x becomes z_0 x + z_1 y; the output is a 3x3
/// convolution and batch norm of x at the teacher's size. The sum of the context losses times `weight` (1; 5 for
/// resnet32x4 to 8x4); put it into a WarmUp of 20 epochs, as published.
template <class... Tags>
struct KnowledgeReview {
  static_assert(sizeof...(Tags) >= 1, "retort: KnowledgeReview needs the tags of the stages, from the shallowest to the deepest");
  double weight = 1;
  index_t middle = 512;  ///< at most; the deepest student tap's channels where these are fewer

  using Step = nn::Sequential<nn::Conv2d, nn::BatchNorm>;
  template <class T, class B>
  struct State {
    struct Stage {
      nn::Built<Step, T, B> in, out;
      std::optional<nn::Built<nn::Conv2d, T, B>> attention;
    };
    std::vector<Stage> stages;  // from the shallowest to the deepest
    template <class F>
    void visit(F&& f) {
      for (std::size_t i = 0; i < stages.size(); ++i) {
        const std::string at = std::to_string(i) + ".";
        stages[i].in.visit(nn::under(f, at + "in."));
        if (stages[i].attention) stages[i].attention->visit(nn::under(f, at + "attention."));
        stages[i].out.visit(nn::under(f, at + "out."));
      }
    }
  };

  template <class S>
  auto make(S& start) const {
    using T = typename S::scalar;
    using B = typename S::context;
    const auto s = maps<T>(start.exchange.tape, start.exchange.student), t = maps<T>(start.exchange.tape, start.exchange.teacher);
    const index_t mid = std::min(middle, s.back().extent(3));
    State<T, B> state;
    for (std::size_t i = 0; i < sizeof...(Tags); ++i) {
      const auto step = [&](index_t in, index_t out, int kernel) {
        return nn::build<T, B>(Step(nn::Conv2d{in, out, kernel, 1, kernel / 2, 1, false}, nn::BatchNorm{out}), start.rng);
      };
      auto in = step(s[i].extent(3), mid, 1);
      auto out = step(mid, t[i].extent(3), 3);
      state.stages.push_back({std::move(in), std::move(out), {}});
      if (i + 1 < sizeof...(Tags))
        state.stages.back().attention = nn::build<T, B>(nn::Conv2d{.in = 2 * mid, .out = 2, .kernel = 1, .padding = 0, .init = nn::Init::glorot}, start.rng);
    }
    return state;
  }
  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    using T = typename std::remove_reference_t<decltype(exchange.tape)>::value_type;
    auto& tape = exchange.tape;
    const auto s = maps<T>(tape, exchange.student), t = maps<T>(tape, exchange.teacher);
    auto pass = own_pass(exchange);
    Var<T, 1> total{};
    Var<T, 4> residual{};
    for (std::size_t i = sizeof...(Tags); i-- > 0;) {
      const auto [fused, answer] = fuse(pass, state.stages[i], s[i], residual, t[i].extent(1), t[i].extent(2));
      residual = fused;
      const auto value = HierarchicalContext{}(tape, answer, tape.detach(t[i]));
      total = i + 1 == sizeof...(Tags) ? value : add(tape, total, value);
    }
    return scale(tape, static_cast<T>(weight), total);
  }
  /// One stage: what it hands on, and its answer to the teacher, both of height x width. No `deeper` at the deepest.
  template <class T, class B, class Stage>
  static std::pair<Var<T, 4>, Var<T, 4>> fuse(Pass<T, B>& pass, Stage& stage, Var<T, 4> feature, Var<T, 4> deeper, index_t height, index_t width) {
    auto& tape = pass.tape;
    Var<T, 4> x = stage.in(pass, feature);
    if (stage.attention) {
      const auto y = resize_nearest(tape, deeper, x.extent(1), x.extent(2));
      const auto z = activate(tape, functor::Sigmoid{}, (*stage.attention)(pass, concat(tape, x, y)));
      x = add(tape, multiply(tape, x, slice(tape, z, 0, 1)), multiply(tape, y, slice(tape, z, 1, 2)));
    }
    x = resize_nearest(tape, x, height, width);
    return {x, stage.out(pass, x)};
  }

 private:
  template <class T, class Tape, class O>
  static std::array<Var<T, 4>, sizeof...(Tags)> maps(Tape& tape, const O& output) {
    return {detail::as_map(tape, feature_of(tap<Tags>(output)))...};
  }
};

}  // namespace retort::loss
