// Synthesis terms against differences, the generator's schedule, patches and CutMix.
#include <doctest/doctest.h>

#include <map>
#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/logit_distance.hpp>
#include <retort/method/out_of_distribution.hpp>
#include <retort/method/zskt.hpp>
#include <retort/train/fit.hpp>

#include "support.hpp"

using namespace retort;
using test::randn;

namespace {

constexpr double gradient = test::tolerance<double>::gradient;

/// What terms see, with images, teacher and student logits as leaves.
template <class S, class Te>
struct Seen {
  Tape<double, Cpu>& tape;
  Var<double, 4> input;
  View<const std::int32_t, 1> labels;
  S student;
  Te teacher;
  View<const std::uint8_t, 1> mask{};
  View<const double, 1> weights{};
  Var<double, 1> temperatures{};
  Var<double, 2> extras{};
  BatchNormObserver<double>* statistics = nullptr;
};
using Plain = Seen<Var<double, 2>, Var<double, 2>>;

struct stage1;

}  // namespace

TEST_CASE("adversarial, one-hot, balance and L1 terms: values and gradients through both networks") {
  Cpu cpu;
  auto s = randn(Shape{5, 4}, 1), t = randn(Shape{5, 4}, 2);
  const std::int32_t classes[] = {0, 3, 1, 1, 2};
  const auto check = [&](const auto& term) {
    const auto r = grad_check(cpu, [&](auto& tape, auto zs, auto zt) {
      Plain ex{tape, {}, {classes, {5}}, zs, zt};
      return loss::evaluate(term, ex);
    }, s, t);
    CHECK(r.error < gradient);
  };
  check(source::Adversarial<>{});
  check(source::Adversarial<loss::KlBatch>{.weight = 0.5});
  check(source::Adversarial<loss::LogitL1<ElementMean>>{});
  check(source::OneHot{.weight = 2});
  check(source::Balance{});
  check(source::Objective<source::Adversarial<>, source::OneHot, source::Balance>{});
  // Balance is -20 log C where the mean is uniform, 0 where all rows are sure of one class.
  const double even[] = {100, 0, 0, 100}, one[] = {100, 0, 100, 0};
  Tape<double, Cpu> tape(cpu);
  for (const auto& [z, expected] : {std::pair{even, -20 * std::log(2)}, {one, 0.0}}) {
    Plain ex{tape, {}, {}, {}, tape.constant(View<const double, 2>{z, {2, 2}})};
    CHECK(source::Balance{}.evaluate(ex).value.data[0] == doctest::Approx(expected).epsilon(1e-9));
  }
}

TEST_CASE("batch-norm statistics: distance by hand, gradient by differences, an error without batch norm") {
  Cpu cpu;
  auto x = randn(Shape{6, 3}, 1);
  const auto mean = randn(Shape{index_t{3}}, 2), variance = randn(Shape{index_t{3}}, 3);
  const auto distance = [&](auto& tape, auto v) { return statistics_distance(tape, v, View<const double, 1>(mean.view()), View<const double, 1>(variance.view())); };
  CHECK(grad_check(cpu, distance, x).error < gradient);
  double dm = 0, dv = 0;
  for (index_t c = 0; c < 3; ++c) {
    double m = 0, v = 0;
    for (index_t i = 0; i < 6; ++i) m += x(i, c) / 6;
    for (index_t i = 0; i < 6; ++i) v += (x(i, c) - m) * (x(i, c) - m) / 6;
    dm += (m - mean(c)) * (m - mean(c));
    dv += (v - variance(c)) * (v - variance(c));
  }
  Tape<double, Cpu> tape(cpu);
  CHECK(distance(tape, tape.constant(View<const double, 2>(x.view()))).value.data[0] == doctest::Approx(std::sqrt(dm) + std::sqrt(dv)));

  using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::GlobalAveragePool>;
  Network<Net, Double<Cpu>> net(Net(nn::Conv2d{1, 3}, nn::BatchNorm{3}, nn::Relu{}, nn::Conv2d{3, 2}, nn::BatchNorm{2}, nn::GlobalAveragePool{}), 1);
  auto images = randn(Shape<4>{3, 4, 4, 1}, 4);
  BatchNormObserver<double> observer;
  const auto term = [&](auto& t, auto v) {
    observer.seen.clear();
    auto pass = Pass<double, Cpu>::frozen(t);
    pass.observer = &observer;
    Plain ex{t, v, {}, {}, net.forward(pass, v)};
    ex.statistics = &observer;
    return source::BnStatistics{}.evaluate(ex);
  };
  CHECK(grad_check(cpu, term, images).error < gradient);
  CHECK(observer.seen.size() == 2);
  CHECK(observer.seen[0].values.shape() == Shape<2>{48, 3});
  observer.seen.clear();
  Plain empty{tape, {}, {}, {}, {}};
  empty.statistics = &observer;
  CHECK_THROWS_AS(source::BnStatistics{}.evaluate(empty), value_error);
}

TEST_CASE("the activation term: minus the mean magnitude of a tap") {
  Cpu cpu;
  auto f = randn(Shape<4>{2, 3, 3, 4}, 1);
  using Tapping = Output<Var<double, 2>, Tapped<stage1, Var<double, 4>>>;
  const auto activation = [&](auto& t, auto a) {
    Seen<Tapping, Tapping> ex{t, {}, {}, Tapping{}, Tapping{{}, {{a}}}};
    return source::Activation<stage1>{.weight = 2}.evaluate(ex);
  };
  CHECK(grad_check(cpu, activation, f).error < gradient);
  Tape<double, Cpu> tape(cpu);
  double magnitude = 0;
  for (const double v : f) magnitude += std::abs(v) / static_cast<double>(f.size());
  CHECK(activation(tape, tape.constant(View<const double, 4>(f.view()))).value.data[0] == doctest::Approx(-2 * magnitude));
}

namespace {

using Mlp = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
Mlp mlp(index_t in, index_t out) { return Mlp(nn::Linear{in, 8}, nn::Relu{}, nn::Linear{8, out}); }

template <class N>
std::vector<float> weights(N& network) {
  std::vector<float> out;
  for (auto& [name, v] : network.tensors()) out.insert(out.end(), v.begin(), v.end());
  return out;
}

}  // namespace

TEST_CASE("the generator's turn raises the disagreement, remakes the batch of the same latents, and leaves the networks alone") {
  Network<Mlp> teacher(mlp(6, 3), 1), student(mlp(6, 3), 2), generator(mlp(4, 6), 3);
  Zskt<Mlp, Mlp, Mlp> method{teacher, student, {}, {}, {generator, {.latent = 4, .batches_per_epoch = 2, .optimizer = {.lr = 0.01f}}}};
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  using Source = decltype(method)::source;
  const data::None none;
  Source::State<float, Cpu, data::None> state(method.source_policy(), Setup<Cpu>{cpu, 0, 0, 16, 5}, none);
  CHECK(state.batches() == 2);
  state.begin(0);
  source::Batch<float, 2> batch;
  REQUIRE(state.next(batch));
  CHECK(batch.inputs.shape == Shape<2>{16, 6});
  const std::vector<float> before(batch.inputs.begin(), batch.inputs.end()), g = weights(generator), s = weights(student), t = weights(teacher);
  double first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    last = state.take_turn(method, tape, batch, Progress{.epochs = 1}, Rng(1));
    if (step == 0) first = last;
  }
  CHECK(last < first);  // minus the divergence
  CHECK(weights(generator) != g);
  CHECK(weights(student) == s);
  CHECK(weights(teacher) == t);
  CHECK(std::vector<float>(batch.inputs.begin(), batch.inputs.end()) != before);
  CHECK(state.next(batch));
  CHECK(!state.next(batch));
  const Plan plan = method.plan({});
  REQUIRE(plan.size() == 1);
  CHECK(plan[0].turns[0].block == Block::source);
  CHECK(plan[0].turns[1].repeats == 10);
  CHECK_THROWS_AS((Source::State<float, Cpu, data::None>(*std::make_unique<Source>(generator, source::GeneratorOptions{.student_steps = 0}), Setup<Cpu>{cpu, 0, 0, 16, 5}, none)), value_error);
}

TEST_CASE("zero-shot transfer brings the student near the teacher, the same bits each time") {
  Network<Mlp> teacher(mlp(6, 3), 1);
  std::vector<std::vector<float>> results;
  for (int run = 0; run < 2; ++run) {
    Network<Mlp> student(mlp(6, 3), 2), generator(mlp(4, 6), 3);
    Zskt<Mlp, Mlp, Mlp> method{teacher, student, {}, {}, {generator, {.latent = 4, .batches_per_epoch = 50, .student_steps = 5}}};
    const Report report = fit(method, data::None{}, optim::Adam{.lr = 0.01f}, {.epochs = 4, .batch_size = 32, .seed = 9});
    CHECK(report.epochs.back().loss < 0.25 * report.epochs.front().loss);
    results.push_back(weights(student));
  }
  CHECK(results[0] == results[1]);
}

TEST_CASE("resizing is the double sum of cubic weights, smaller and larger, beyond the borders too") {
  const auto image = test::randn<float>(Shape{19, 23, 3}, 1);
  const auto reference = [&](double start, double length, index_t outputs, index_t i, index_t extent) {  // weight of each pixel
    const double step = length / static_cast<double>(outputs), reach = std::max(1.0, step), centre = start + (static_cast<double>(i) + 0.5) * step - 0.5;
    std::vector<double> weight(static_cast<std::size_t>(extent));
    double total = 0;
    for (index_t k = -60; k < extent + 60; ++k) {
      const double w = source::detail::cubic((static_cast<double>(k) - centre) / reach);
      weight[static_cast<std::size_t>(std::clamp<index_t>(k, 0, extent - 1))] += w;
      total += w;
    }
    for (double& w : weight) w /= total;
    return weight;
  };
  const struct {
    double top, left, height, width;
  } windows[] = {{0, 0, 19, 23}, {2.3, 4.1, 9.7, 8.2}, {5, 7.5, 2.5, 3.25}, {17, 20, 2, 3}};
  for (const auto& [top, left, height, width] : windows)
    for (const Shape<3> shape : {Shape<3>{4, 5, 3}, Shape<3>{7, 3, 3}, Shape<3>{1, 1, 3}}) {
      Tensor<float, 3> out(shape);
      source::detail::resize_cubic(image.view(), top, left, height, width, out.view());
      double worst = 0;
      for (index_t y = 0; y < shape[0]; ++y)
        for (index_t x = 0; x < shape[1]; ++x)
          for (index_t c = 0; c < 3; ++c) {
            const auto wy = reference(top, height, shape[0], y, 19), wx = reference(left, width, shape[1], x, 23);
            double sum = 0;
            for (index_t v = 0; v < 19; ++v)
              for (index_t u = 0; u < 23; ++u) sum += wy[static_cast<std::size_t>(v)] * wx[static_cast<std::size_t>(u)] * static_cast<double>(image(v, u, c));
            worst = std::max(worst, std::abs(std::clamp(sum, 0.0, 1.0) - static_cast<double>(out(y, x, c))));
          }
      CHECK(worst < test::tolerance<float>::value);
    }
}

TEST_CASE("patches: range, determinism, and an image too small for them") {
  Tensor<float, 3> image(Shape<3>{40, 50, 3});
  Rng rng(1);
  for (float& x : image) x = rng.uniform();
  const auto a = source::make_patches(image.view(), 12, 16, 4), b = source::make_patches(image.view(), 6, 16, 4), c = source::make_patches(image.view(), 6, 16, 5);
  a.validate();
  CHECK(a.inputs.shape() == Shape<4>{12, 16, 16, 3});
  for (const float x : a.inputs) CHECK((x >= 0 && x <= 1));
  CHECK(std::equal(b.inputs.begin(), b.inputs.end(), a.inputs.begin()));  // a patch does not depend on how many there are
  CHECK(!std::equal(b.inputs.begin(), b.inputs.end(), c.inputs.begin()));
  CHECK_THROWS_AS(source::make_patches(image.view(), 1, 21, 0), shape_error);
  CHECK_THROWS_AS(source::make_patches(image.view(), 0, 16, 0), value_error);
  // Without rotation, shear and jitter a patch of a flat image is flat.
  std::fill(image.begin(), image.end(), 0.25f);
  const auto flat = source::make_patches(image.view(), 3, 16, 4, {.rotation = 0, .shear = 0, .jitter_probability = 0});
  for (const float x : flat.inputs) CHECK(x == doctest::Approx(0.25).epsilon(1e-4));
}

TEST_CASE("patches as dark as the task: mean and deviation are met, impossible ones refused") {
  auto patches = source::make_patches(source::dead_leaves(64, 64, 1, 1).view(), 50, 16, 4);
  const auto moments = [&] {
    double first = 0, second = 0;
    for (const float x : patches.inputs) first += static_cast<double>(x) / static_cast<double>(patches.inputs.size()), second += static_cast<double>(x) * static_cast<double>(x) / static_cast<double>(patches.inputs.size());
    return std::pair{first, std::sqrt(second - first * first)};
  };
  for (const auto& [mean, deviation] : {std::pair{0.13, 0.3}, {0.5, 0.2}, {0.7, 0.1}}) {
    source::match_brightness(patches.inputs.view(), mean, deviation);
    CHECK(moments().first == doctest::Approx(mean).epsilon(0.02));
    CHECK(moments().second == doctest::Approx(deviation).epsilon(0.02));
    patches = source::make_patches(source::dead_leaves(64, 64, 1, 1).view(), 50, 16, 4);
  }
  CHECK_THROWS_AS(source::match_brightness(patches.inputs.view(), 0.1, 0.31), value_error);
  CHECK_THROWS_AS(source::match_brightness(patches.inputs.view(), 0, 0.1), value_error);
  std::fill(patches.inputs.begin(), patches.inputs.end(), 0.5f);
  CHECK_THROWS_AS(source::match_brightness(patches.inputs.view(), 0.5, 0.1), value_error);
}

TEST_CASE("CutMix pastes one box of a partner into every image, and nobody sees labels") {
  Dataset<4> data{Tensor<float, 4>(Shape<4>{20, 10, 10, 1}), std::vector<std::int32_t>(20), 2, "flat"};
  for (index_t i = 0; i < 20; ++i) std::fill(data.inputs.view().row(i), data.inputs.view().row(i) + 100, static_cast<float>(i));
  Cpu cpu;
  source::OutOfDistribution::State<float, Cpu, Dataset<4>> state({}, Setup<Cpu>{cpu, 2, 20, 8, 3}, data);
  CHECK(state.batches() == 2);
  int mixed = 0, boxes = 0;
  for (std::uint64_t pass = 0; pass < 20; ++pass) {
    state.begin(pass);
    for (source::Batch<float, 4> batch; state.next(batch);) {
      ++boxes;
      CHECK(batch.labels.empty());
      CHECK(batch.ids.empty());
      index_t changed = -1;
      for (index_t i = 0; i < 8; ++i) {
        std::map<float, index_t> values;  // of the image and of at most one partner
        for (index_t k = 0; k < 100; ++k) ++values[batch.inputs.row(i)[k]];
        CHECK(values.size() <= 2);
        if (values.size() < 2) continue;  // its own partner, or an empty box, or one that covers everything
        ++mixed;
        const index_t area = std::min(values.begin()->second, values.rbegin()->second);
        if (changed >= 0) CHECK(area == changed);  // the same box for the whole batch
        changed = area;
      }
    }
  }
  CHECK(boxes == 40);
  CHECK(mixed > 100);
  CHECK_THROWS_AS((source::OutOfDistribution::State<float, Cpu, Dataset<4>>({.alpha = 0}, Setup<Cpu>{cpu, 2, 20, 8, 3}, data)), value_error);
}
