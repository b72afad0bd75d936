// The shuffled teacher, and what the vaccine makes of it: section by section the identities that need no training.
#include <doctest/doctest.h>

#include <algorithm>
#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/defense/soft_suppress.hpp>
#include <retort/loss/cross_entropy.hpp>

#include "support.hpp"

using namespace retort;
using test::randn;

namespace {

using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
Net net() {
  return Net(nn::Conv2d{2, 6}, nn::BatchNorm{6}, nn::Relu{}, nn::Conv2d{6, 8}, nn::Relu{}, nn::GlobalAveragePool{}, nn::Linear{8, 4});
}
using Backend = Double<Cpu>;
using Teacher = Network<Net, Backend>;
using Shuffled = teacher::Shuffled<Net, Backend>;

template <class N>
Tensor<double, 2> logits(N& answering, const Tensor<double, 4>& x) {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  auto pass = Pass<double, Cpu>::frozen(tape);
  const Question<Var<double, 4>> q{tape.constant(x.view())};
  Var<double, 2> z;
  if constexpr (requires { answering.answer(pass, q); })
    z = answering.answer(pass, q);
  else
    z = answering.forward(pass, q.input);
  Tensor<double, 2> out(z.shape());
  std::copy(z.value.begin(), z.value.end(), out.begin());
  return out;
}
bool equal(const Tensor<double, 2>& a, const Tensor<double, 2>& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

}  // namespace

TEST_CASE("identity permutations answer as the teacher does, bit for bit, and R is 0") {
  Teacher teacher(net(), 1);
  Shuffled shuffled(teacher, {.clones = 1, .layers = 2});
  const auto x = randn(Shape<4>{5, 6, 6, 2}, 3);
  CHECK(!equal(logits(shuffled, x), logits(teacher, x)));
  shuffled.permute(0, [](int, auto&) {});
  const auto t = logits(teacher, x), s = logits(shuffled, x);
  CHECK(equal(t, s));
  Tensor<std::uint8_t, 1> mask(Shape{index_t{5}});
  CHECK(defense::suspicion(View<const double, 2>(t.view()), View<const double, 2>(s.view()), mask.view()) == 5);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto r = defense::vaccine_penalty(tape, tape.constant(t.view()), tape.constant(s.view()), View<const std::uint8_t, 1>(mask.view()), 5);
  CHECK(r.value.data[0] == 0);
  Shuffled none(teacher, {.clones = 1, .layers = 0});
  CHECK(equal(logits(none, x), t));
}

TEST_CASE("permutations keep each filter's weights and touch only the layers asked for") {
  Teacher teacher(net(), 1);
  const auto original = teacher::convolution_weights(teacher);
  REQUIRE(original.size() == 2);
  for (const int layers : {1, -1, 2}) {
    Shuffled shuffled(teacher, {.clones = 2, .layers = layers}, Rng(7));
    for (int k = 0; k < 2; ++k) {
      const auto weights = teacher::convolution_weights(shuffled.clone(k));
      for (std::size_t layer = 0; layer < 2; ++layer) {
        const bool same = std::equal(weights[layer].begin(), weights[layer].end(), original[layer].begin());
        const bool asked = layers == 2 || (layers == 1 ? layer == 1 : layer == 0);
        if (layer == 1) CHECK(same != asked);  // with two input channels the identity is drawn half of the time
        if (!asked) CHECK(same);
        for (index_t o = 0; o < weights[layer].extent(3); ++o) {
          std::vector<double> a, b;
          for (index_t i = o; i < weights[layer].size(); i += weights[layer].extent(3)) {
            a.push_back(weights[layer].data[i]);
            b.push_back(original[layer].data[i]);
          }
          std::sort(a.begin(), a.end());
          std::sort(b.begin(), b.end());
          CHECK(a == b);
        }
      }
    }
  }
}

TEST_CASE("clones are permuted independently, and the same stream draws the same permutations") {
  Teacher teacher(net(), 1);
  Shuffled a(teacher, {.clones = 2, .layers = 1}, Rng(7)), b(teacher, {.clones = 2, .layers = 1}, Rng(7)), c(teacher, {.clones = 2, .layers = 1}, Rng(8));
  const auto last = [](Shuffled& s, int k) {
    const auto w = teacher::convolution_weights(s.clone(k))[1];
    return std::vector<double>(w.begin(), w.end());
  };
  CHECK(last(a, 0) == last(b, 0));
  CHECK(last(a, 0) != last(a, 1));
  CHECK(last(a, 0) != last(c, 0));
}

TEST_CASE("permuting input channels is permuting the activations before the convolution") {
  Cpu cpu;
  const auto w = randn(Shape<4>{3, 3, 6, 4}, 1);
  const auto x = randn(Shape<4>{2, 5, 5, 6}, 2);
  const std::vector<index_t> order{3, 0, 5, 1, 4, 2};
  Tensor<double, 4> permuted(w.shape()), activations(x.shape());
  teacher::permute_input_channels<double>(w.view(), order, permuted.view());
  // W'[i] = W[order[i]] sees channel i where W sees channel order[i]: x'[order[i]] = x[i].
  for (index_t r = 0; r < x.size() / 6; ++r)
    for (index_t i = 0; i < 6; ++i) activations.data()[r * 6 + order[static_cast<std::size_t>(i)]] = x.data()[r * 6 + i];
  Tape<double, Cpu> tape(cpu);
  const auto a = conv2d(tape, {}, tape.constant(x.view()), tape.constant(View<const double, 4>(permuted.view())), no_bias<double>());
  const auto b = conv2d(tape, {}, tape.constant(View<const double, 4>(activations.view())), tape.constant(w.view()), no_bias<double>());
  for (index_t i = 0; i < a.size(); ++i) CHECK(a.value.data[i] == doctest::Approx(b.value.data[i]).epsilon(test::tolerance<double>::value));
  CHECK_THROWS_AS(teacher::permute_input_channels<double>(w.view(), std::vector<index_t>{0, 1}, permuted.view()), shape_error);
}

TEST_CASE("a network without convolutions cannot be shuffled") {
  using Mlp = nn::Sequential<nn::Linear>;
  Network<Mlp> mlp(Mlp(nn::Linear{4, 2}), 1);
  CHECK_THROWS_AS((teacher::Shuffled<Mlp>(mlp)), value_error);
  Teacher teacher(net(), 1);
  CHECK_THROWS_AS(Shuffled(teacher, {.clones = 0}), value_error);
}

TEST_CASE("R and its gradient in the images, through teacher and shuffled teacher, by central differences") {
  Cpu cpu;
  Teacher teacher(net(), 1);
  Shuffled shuffled(teacher, {.clones = 3, .layers = 2}, Rng(5));
  auto x = randn(Shape<4>{4, 5, 5, 2}, 9);
  const std::uint8_t mask_bytes[] = {1, 0, 1, 1};
  const View<const std::uint8_t, 1> mask{mask_bytes, {4}};
  const auto penalty = [&](Tape<double, Cpu>& tape, Var<double, 4> images) {
    auto pass = Pass<double, Cpu>::frozen(tape);
    const auto t = teacher.forward(pass, images);
    return defense::vaccine_penalty(tape, t, shuffled.answer(pass, Question<Var<double, 4>>{images}), mask, 3);
  };
  CHECK(grad_check(cpu, penalty, x).error < test::tolerance<double>::gradient);
  // By hand: the mean of KL / C over the three suspicious rows.
  const auto t = logits(teacher, x), s = logits(shuffled, x);
  std::vector<double> scores;
  defense::vaccine_scores(View<const double, 2>(t.view()), View<const double, 2>(s.view()), scores);
  Tape<double, Cpu> tape(cpu);
  const double expected = (std::pow(10, scores[0]) + std::pow(10, scores[2]) + std::pow(10, scores[3])) / 3;
  CHECK(penalty(tape, tape.constant(x.view())).value.data[0] == doctest::Approx(expected).epsilon(1e-10));
}

TEST_CASE("an empty mask gives R = 0 and no gradient") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto t = randn(Shape{3, 4}, 1), s = randn(Shape{3, 4}, 2);
  const std::uint8_t none[] = {0, 0, 0};
  const auto leaf = tape.leaf(t.view());
  const auto r = defense::vaccine_penalty(tape, leaf, tape.leaf(s.view()), View<const std::uint8_t, 1>{none, {3}}, 0);
  CHECK(r.value.data[0] == 0);
  CHECK(!r.requires_grad());
  tape.backward(r);
  CHECK(!leaf.slot->written);
}

TEST_CASE("soft suppression: mean of the kept minus lambda times mean of the suspicious") {
  using Censor = defense::SoftSuppress<Net, censor::None, Backend>;
  Cpu cpu;
  const auto s = randn(Shape{5, 4}, 1), t = randn(Shape{5, 4}, 2);
  const auto loss_with = [&](View<const double, 1> weights) {
    Tape<double, Cpu> tape(cpu);
    return row_loss(tape, loss::KlMean{.temperature = 8},
                    RowLossInputs<double>{.student = tape.constant(s.view()), .teacher = tape.constant(t.view()), .weights = weights}).value.data[0];
  };
  std::vector<double> rows;  // each row's loss
  for (index_t i = 0; i < 5; ++i) {
    Tensor<double, 1> one(Shape{index_t{5}});
    one(i) = 5;
    rows.push_back(loss_with(one.view()));
  }
  Tensor<double, 1> weights(Shape{index_t{5}});
  const std::uint8_t some[] = {1, 0, 0, 1, 0}, none[] = {0, 0, 0, 0, 0}, all[] = {1, 1, 1, 1, 1};
  Censor::suppress<double>(View<const std::uint8_t, 1>{some, {5}}, 0.1, weights.view());
  CHECK(loss_with(weights.view()) == doctest::Approx((rows[1] + rows[2] + rows[4]) / 3 - 0.1 * (rows[0] + rows[3]) / 2));
  Censor::suppress<double>(View<const std::uint8_t, 1>{none, {5}}, 0.1, weights.view());
  for (const double w : weights) CHECK(w == 1);
  Censor::suppress<double>(View<const std::uint8_t, 1>{all, {5}}, 0.1, weights.view());
  for (const double w : weights) CHECK(w == 0);
}

TEST_CASE("divergence of rows, from another network and from chance") {
  const double t[] = {0, 1000, 0, 0.5, 0.1, -0.4}, s[] = {2, 0, 1, 0.5, 0.1, -0.4};
  const View<const double, 2> teacher{t, {2, 3}}, student{s, {2, 3}};
  CHECK(defense::divergence<double>(teacher, {}, 0) == doctest::Approx(std::log(3.0)));  // certain: far from chance by log C
  CHECK(defense::divergence(teacher, student, 0) == doctest::Approx(std::log(std::exp(2) + 1 + std::exp(1))));
  CHECK(defense::divergence(teacher, student, 1) == doctest::Approx(0));
}

TEST_CASE("the tail test: 0.00135 for normal scores, more where a tail was planted") {
  std::vector<double> scores;
  Rng rng(1);
  for (int i = 0; i < 100000; ++i) scores.push_back(rng.normal());
  CHECK(defense::tail_fraction(scores) == doctest::Approx(0.00135).epsilon(0.2));
  for (int i = 0; i < 4000; ++i) scores[static_cast<std::size_t>(i)] -= 12;
  CHECK(defense::tail_fraction(scores) > 0.02);
  CHECK(defense::tail_fraction(std::vector<double>(5, -3.0)) == 0);
  CHECK_THROWS_AS(defense::tail_fraction({}), value_error);
  const double same[] = {1, 2, 3};  // a KL of 0 has a floor, not an infinite logarithm
  std::vector<double> out;
  defense::vaccine_scores(View<const double, 2>{same, {1, 3}}, View<const double, 2>{same, {1, 3}}, out);
  CHECK(out[0] == doctest::Approx(-30));
}

TEST_CASE("KlBatch = T^2 C KlMean") {
  Cpu cpu;
  const auto s = randn(Shape{6, 7}, 1), t = randn(Shape{6, 7}, 2);
  for (const double temperature : {1.0, 0.5, 20.0}) {
    Tape<double, Cpu> tape(cpu);
    const RowLossInputs<double> in{.student = tape.constant(s.view()), .teacher = tape.constant(t.view())};
    const double batch = row_loss(tape, loss::KlBatch{.temperature = temperature}, in).value.data[0];
    const double mean = row_loss(tape, loss::KlMean{.temperature = temperature}, in).value.data[0];
    CHECK(batch == doctest::Approx(temperature * temperature * 7 * mean).epsilon(test::tolerance<double>::value));
  }
}

TEST_CASE("the backdoor report: rates and the area under the curve") {
  Network<Net> teacher(net(), 1);
  Cpu cpu;
  const auto images = [](std::uint64_t seed, index_t n) {
    return Dataset<4>{test::randn<float>(Shape<4>{n, 5, 5, 2}, seed), std::vector<std::int32_t>(static_cast<std::size_t>(n)), 4, "noise"};
  };
  const auto a = images(1, 40), b = images(2, 30);
  teacher::Shuffled<Net> same(teacher, {.clones = 1, .layers = 0});
  const auto equal_scores = defense::backdoor_report(same, a, b, cpu);  // nothing shuffled: all suspicious, all scores alike
  CHECK(equal_scores.clean_rate == 1);
  CHECK(equal_scores.stamped_rate == 1);
  CHECK(equal_scores.separation == doctest::Approx(0.5));
  teacher::Shuffled<Net> shuffled(teacher, {.clones = 2, .layers = 2}, Rng(3));
  const auto report = defense::backdoor_report(shuffled, a, b, cpu);
  std::vector<std::vector<double>> scores(2);
  for (int k = 0; k < 2; ++k) {
    const auto& set = k ? b : a;
    const auto t = predict_logits(teacher, set, cpu), s = predict_logits<float>(cpu, set, [&](auto& pass, const auto& batch) { return shuffled.answer(pass, batch); });
    defense::vaccine_scores(View<const float, 2>(t.view()), View<const float, 2>(s.view()), scores[static_cast<std::size_t>(k)]);
  }
  double below = 0;
  for (const double with : scores[1])
    for (const double without : scores[0]) below += with < without ? 1 : with == without ? 0.5 : 0;
  CHECK(report.separation == doctest::Approx(below / (30 * 40)));
  const auto mirrored = defense::backdoor_report(shuffled, b, a, cpu);
  CHECK(mirrored.separation == doctest::Approx(1 - report.separation));
  CHECK(mirrored.clean_rate == report.stamped_rate);
}
