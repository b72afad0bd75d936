#pragma once
// Guide architectures of DiSK's code. All end in one number per sample, the logit of the gate. Batch norm: batches of two
// samples or more.

#include <retort/nn/network.hpp>
#include <utility>

namespace retort {
namespace nn {

/// Two inputs (a std::pair of variables) through a tower each; the results side by side.
template <class First, class Second>
struct Towers {
  First first{};
  Second second{};

  template <class T, class B>
  struct State {
    typename First::template State<T, B> first;
    typename Second::template State<T, B> second;
    template <class F>
    void visit(F&& f) {
      first.visit([&](const std::string& name, auto& entry) { f("first." + name, entry); });
      second.visit([&](const std::string& name, auto& entry) { f("second." + name, entry); });
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    auto one = first.template make<T, B>(rng);
    return {std::move(one), second.template make<T, B>(rng)};
  }
  template <class T, class B, class X, class Y>
  auto forward(State<T, B>& s, Pass<T, B>& pass, const std::pair<X, Y>& x) const {
    return concat(pass.tape, result_of(first.forward(s.first, pass, x.first)), result_of(second.forward(s.second, pass, x.second)));
  }
  std::string describe() const { return "Towers(" + first.describe() + ", " + second.describe() + ")"; }
};

}  // namespace nn

namespace censor {

/// b23, for a pooled feature or logits, N x `in`: FC64-BN-ReLU, FC128-BN-ReLU, FC1.
using GuideB23 = nn::Sequential<nn::Linear, nn::BatchNorm, nn::Relu, nn::Linear, nn::BatchNorm, nn::Relu, nn::Linear>;
inline GuideB23 guide_b23(index_t in, index_t first = 64, index_t second = 128) {
  return GuideB23(nn::Linear{in, first}, nn::BatchNorm{first}, nn::Relu{}, nn::Linear{first, second}, nn::BatchNorm{second}, nn::Relu{},
                  nn::Linear{second, 1, true, nn::Init::glorot});
}

/// A tower over a map of `channels`: 1x1, 3x3 and 1x1 convolutions of `width`, each BN + SiLU, pooled, then FC to `feature`.
using GuideTower = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Silu, nn::Conv2d, nn::BatchNorm, nn::Silu, nn::Conv2d, nn::BatchNorm,
                                  nn::Silu, nn::GlobalAveragePool, nn::Linear>;
inline GuideTower guide_tower(index_t channels, index_t feature, index_t width = 256) {
  const auto pointwise = [](index_t in, index_t out) { return nn::Conv2d{.in = in, .out = out, .kernel = 1, .padding = 0}; };
  return GuideTower(pointwise(channels, width), nn::BatchNorm{width}, nn::Silu{}, nn::Conv2d{.in = width, .out = width}, nn::BatchNorm{width},
                    nn::Silu{}, pointwise(width, width), nn::BatchNorm{width}, nn::Silu{}, nn::GlobalAveragePool{}, nn::Linear{width, feature});
}

/// b24, for the teacher's map before its last stage, and b25, the same for the student's: a tower to the teacher's
/// feature width, FC C-BN-ReLU, FC1.
using GuideB24 = nn::Sequential<GuideTower, nn::Linear, nn::BatchNorm, nn::Relu, nn::Linear>;
using GuideB25 = GuideB24;
inline GuideB24 guide_b24(index_t channels, index_t teacher_feature, index_t classes, index_t width = 256) {
  return GuideB24(guide_tower(channels, teacher_feature, width), nn::Linear{teacher_feature, classes}, nn::BatchNorm{classes}, nn::Relu{},
                  nn::Linear{classes, 1, true, nn::Init::glorot});
}
inline GuideB25 guide_b25(index_t channels, index_t teacher_feature, index_t classes, index_t width = 256) {
  return guide_b24(channels, teacher_feature, classes, width);
}

/// b26, for both maps: two towers side by side, then as b24. Its input is censor::BothTaps.
using GuideB26 = nn::Sequential<nn::Towers<GuideTower, GuideTower>, nn::Linear, nn::BatchNorm, nn::Relu, nn::Linear>;
inline GuideB26 guide_b26(index_t teacher_channels, index_t student_channels, index_t teacher_feature, index_t classes, index_t width = 256) {
  return GuideB26(nn::Towers<GuideTower, GuideTower>{guide_tower(teacher_channels, teacher_feature, width),
                                                     guide_tower(student_channels, teacher_feature, width)},
                  nn::Linear{2 * teacher_feature, classes}, nn::BatchNorm{classes}, nn::Relu{}, nn::Linear{classes, 1, true, nn::Init::glorot});
}

}  // namespace censor
}  // namespace retort
