// Views, image terms, DeepInversion and contrastive inversion.
#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/defense/with_abd.hpp>
#include <retort/method/cmi.hpp>
#include <retort/method/deep_inversion.hpp>
#include <retort/method/hinton.hpp>
#include <retort/predict/logits.hpp>
#include <retort/train/fit.hpp>
#include <retort/train/metrics.hpp>

#include "support.hpp"

using namespace retort;
using test::randn;

namespace {

constexpr double gradient = test::tolerance<double>::gradient;
using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
Net net(index_t width) {
  return Net(nn::Conv2d{1, width}, nn::BatchNorm{width}, {}, nn::Conv2d{width, width}, nn::BatchNorm{width}, {}, {}, nn::Linear{width, 3});
}
using Gen = source::DataFreeNet;
const data::Pipeline<data::RandomCrop, data::HorizontalFlip> crop{data::RandomCrop{1}, {}};

/// Grey 8 x 8 images: stripes along, stripes across, a chequer; zero mean.
Dataset<4> stripes(index_t n) {
  Dataset<4> data{Tensor<float, 4>(Shape<4>{n, 8, 8, 1}), {}, 3, "stripes"};
  Rng rng(1);
  for (index_t i = 0; i < n; ++i) {
    data.labels.push_back(static_cast<std::int32_t>(i % 3));
    for (index_t y = 0; y < 8; ++y)
      for (index_t x = 0; x < 8; ++x)
        data.inputs(i, y, x, 0) = ((i % 3 == 0 ? y / 2 : i % 3 == 1 ? x / 2 : x / 2 + y / 2) % 2 ? 1.f : -1.f) + 0.3f * static_cast<float>(rng.normal());
  }
  return data;
}
struct World {
  Dataset<4> data = stripes(240);
  Network<Net> teacher{net(8), 1}, student{net(6), 2};
  Network<Gen> generator{source::data_free_generator(8, 8, 8, 1, 8, 2, {{0.5f}, {0.5f}}), 3};
  World() {
    LabelsOnly<Net> method{teacher::None{}, teacher};
    fit(method, data, optim::Adam{.lr = 0.01f}, {.epochs = 6, .batch_size = 32});
  }
  double accuracy(Network<Net>& network) const {
    Cpu cpu;
    return metrics::accuracy(predict_logits(network, data, cpu), data.label_view());
  }
};
template <class N>
std::vector<float> weights(N& network) {
  std::vector<float> out;
  for (auto& [name, v] : network.tensors()) out.insert(out.end(), v.begin(), v.end());
  return out;
}
const optim::Adam adam{.lr = 5e-3f};
using Inverted = DeepInversion<Net, Net>;
using Contrasted = Cmi<Net, Net, Gen>;
source::InversionOptions few_pixels() {
  source::InversionOptions o;
  o.steps = 60, o.synthesis_batch = 48, o.student_batches = 12, o.pool = 100, o.classes = 3, o.low = -2, o.high = 2;
  return o;
}
source::ContrastiveOptions few_views() {
  source::ContrastiveOptions o;
  o.steps = 30, o.synthesis_batch = 24, o.student_batches = 12, o.pool = 200, o.classes = 3;
  o.optimizer.lr = 0.01f, o.latent = 8, o.bank = 60, o.negatives = 16, o.head = 12, o.padding = 1;
  return o;
}

}  // namespace

TEST_CASE("views move pixels, keep them or blend them, and pass gradients") {
  Cpu cpu;
  auto x = randn(Shape<4>{3, 5, 4, 2}, 1);
  const auto weight = randn(Shape<4>{3, 5, 4, 2}, 2);
  const auto scored = [&](const auto& view) {
    return grad_check(cpu, [&](auto& tape, auto images) { return sum(tape, multiply(tape, view(tape, images), tape.constant(weight.view()))); }, x).error;
  };
  const Rng rng(3);
  CHECK(scored([&](auto& tape, auto v) { return source::rolled(tape, v, 0.5, rng); }) < gradient);
  CHECK(scored([&](auto& tape, auto v) { return source::shifted(tape, v, 2, rng); }) < gradient);
  CHECK(scored([&](auto& tape, auto v) { return source::resized_crop(tape, v, 0.25, rng); }) < gradient);

  Tape<double, Cpu> tape(cpu);
  const auto sorted = [](auto view) {
    std::vector<double> out(view.begin(), view.end());
    std::sort(out.begin(), out.end());
    return out;
  };
  const auto at = tape.constant(x.view());
  CHECK(sorted(source::rolled(tape, at, 0.5, rng).value) == sorted(at.value));  // nothing is lost
  const auto whole = source::resized_crop(tape, tape.constant(x.view()), 1, rng);
  CHECK(sorted(source::shifted(tape, at, 0, rng).value) == sorted(at.value));  // mirrored at most
  CHECK(whole.shape() == x.shape());
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  for (const double v : source::resized_crop(tape, at, 0.25, rng).value) CHECK((v >= *low && v <= *high));  // means of neighbours
  // A constant image stays constant under interpolation; a shift lets black in.
  std::fill(x.begin(), x.end(), 1.0);
  for (const double v : source::resized_crop(tape, at, 0.25, rng).value) CHECK(v == doctest::Approx(1).epsilon(test::tolerance<double>::value));
  const auto moved = source::shifted(tape, at, 2, rng);
  CHECK(std::count(moved.value.begin(), moved.value.end(), 0.0) > 0);
}

TEST_CASE("total variation and norm of images by hand, and their gradients") {
  Cpu cpu;
  auto x = randn(Shape<4>{2, 4, 3, 2}, 1);
  struct Seen {
    Tape<double, Cpu>& tape;
    Var<double, 4> input;
  };
  const auto value = [&](const auto& term) {
    Tape<double, Cpu> tape(cpu);
    Seen seen{tape, tape.constant(x.view())};
    return term.evaluate(seen).value.data[0];
  };
  const auto check = [&](const auto& term) {
    CHECK(grad_check(cpu, [&](auto& tape, auto images) {
            Seen seen{tape, images};
            return term.evaluate(seen);
          }, x).error < gradient);
  };
  const auto mean_difference = [&](index_t down, index_t right) {  // right < 0: the other diagonal
    double total = 0;
    int count = 0;
    for (index_t i = 0; i < 2; ++i)
      for (index_t r = 0; r + down < 4; ++r)
        for (index_t c = std::max<index_t>(0, -right); c + std::max<index_t>(0, right) < 3; ++c)
          for (index_t k = 0; k < 2; ++k, ++count) total += std::abs(x(i, r + down, c + right, k) - x(i, r, c, k));
    return total / count;
  };
  CHECK(value(source::TotalVariation{.weight = 3}) ==
        doctest::Approx(3 * (mean_difference(0, 1) + mean_difference(1, 0) + mean_difference(1, 1) + mean_difference(1, -1))));
  double norms = 0;
  for (index_t i = 0; i < 2; ++i) {
    double square = 0;
    for (index_t k = 0; k < 24; ++k) square += x.view().row(i)[k] * x.view().row(i)[k];
    norms += std::sqrt(square);
  }
  CHECK(value(source::L2Norm{.weight = 0.5}) == doctest::Approx(0.25 * norms));
  check(source::TotalVariation{});
  check(source::L2Norm{.weight = 1});
}

TEST_CASE("adversarial terms of DeepInversion and CMI: by hand, gradients through both networks, agreement only") {
  Cpu cpu;
  auto s = randn(Shape{5, 4}, 1), t = randn(Shape{5, 4}, 2);
  struct Seen {
    Tape<double, Cpu>& tape;
    Var<double, 2> student, teacher;
  };
  const auto value = [&](const auto& term) {
    Tape<double, Cpu> tape(cpu);
    Seen seen{tape, tape.constant(s.view()), tape.constant(t.view())};
    return term.evaluate(seen).value.data[0];
  };
  const auto check = [&](const auto& term) {
    CHECK(grad_check(cpu, [&](auto& tape, auto zs, auto zt) {
            Seen seen{tape, zs, zt};
            return term.evaluate(seen);
          }, s, t).error < gradient);
  };
  check(source::AdversarialMixture{.temperature = 3});
  check(source::AdversarialWhereAgreed{});
  const auto softmax_of = [](const double* z, double temperature) {
    std::vector<double> p(4);
    double total = 0;
    for (std::size_t c = 0; c < 4; ++c) total += p[c] = std::exp(z[c] / temperature);
    for (double& v : p) v /= total;
    return p;
  };
  double mixture = 0, agreed = 0;
  int agreeing = 0;
  t(2, 0) = s(2, 0) = 9;  // one row at least agrees
  t(3, 1) = 9, s(3, 2) = 9;  // and one does not
  for (index_t i = 0; i < 5; ++i) {
    const auto p = softmax_of(s.view().row(i), 3), q = softmax_of(t.view().row(i), 3);
    const auto ps = softmax_of(s.view().row(i), 1), pt = softmax_of(t.view().row(i), 1);
    double kl = 0;
    for (std::size_t c = 0; c < 4; ++c) {
      const auto clamp = [](double v) { return std::clamp(v, 0.01, 0.99); };
      const double m = clamp((p[c] + q[c]) / 2);
      mixture += m * (std::log(m) - (std::log(clamp(p[c])) + std::log(clamp(q[c]))) / 2) / 5;
      kl += pt[c] * std::log(pt[c] / ps[c]) / 5;
    }
    const auto top = [](const std::vector<double>& v) { return std::max_element(v.begin(), v.end()) - v.begin(); };
    if (top(ps) == top(pt)) agreed += kl, ++agreeing;
  }
  CHECK((agreeing > 0 && agreeing < 5));
  CHECK(value(source::AdversarialMixture{.weight = 2, .temperature = 3}) == doctest::Approx(-2 * mixture));
  CHECK(value(source::AdversarialWhereAgreed{.weight = 0.5}) == doctest::Approx(-0.5 * agreed));
}

TEST_CASE("a ring keeps the newest rows, table by table") {
  source::Ring<float, Cpu> ring(4, {2, 1});
  const auto a = randn<float>(Shape{6, 2}, 1), b = randn<float>(Shape{6, 1}, 2);
  CHECK(ring.size() == 0);
  ring.add(a.view().rows(0, 3), b.view().rows(0, 3));
  CHECK(ring.size() == 3);
  ring.add(a.view().rows(3, 6), b.view().rows(3, 6));
  CHECK(ring.size() == 4);
  CHECK(ring.total() == 6);
  CHECK(ring.row(0, 0)[1] == a(4, 1));  // rows 4 and 5 took the places of 0 and 1
  CHECK(ring.row(1, 1)[0] == b(5, 0));
  CHECK(ring.row(1, 2)[0] == b(2, 0));
  Rng rng(1);
  for (int i = 0; i < 50; ++i) CHECK(ring.draw(rng) < 4);
}

TEST_CASE("instance features are the spatial means of what enters each batch normalisation") {
  Cpu cpu;
  Network<Net, Double<Cpu>> teacher(net(3), 1);
  auto x = randn(Shape<4>{2, 4, 4, 1}, 5);
  const auto features = [&](Tape<double, Cpu>& tape, Var<double, 4> images) {
    BatchNormObserver<double> observer;
    auto pass = Pass<double, Cpu>::frozen(tape);
    pass.observer = &observer;
    teacher.forward(pass, images);
    const auto phi = source::detail::instance_features(tape, observer);
    CHECK(phi.shape() == Shape<2>{2, source::batch_norm_channels(teacher)});
    CHECK(observer.seen.size() == 2);
    double mean = 0;  // channel 1 of the second layer, image 1
    for (index_t k = 0; k < 16; ++k) mean += observer.seen[1].values.value(16 + k, 1) / 16;
    CHECK(phi.value(1, 4) == doctest::Approx(mean));
    return phi;
  };
  CHECK(grad_check(cpu, [&](auto& tape, auto images) {
          const auto phi = features(tape, images);
          return sum(tape, multiply(tape, phi, phi));
        }, x).error < gradient);
}

TEST_CASE("DeepInversion: images nearer to the teacher's statistics than noise, a student that learns from them") {
  World w;
  std::vector<std::vector<float>> results;
  const auto before = weights(w.teacher);
  for (int run = 0; run < 2; ++run) {
    auto student = w.student.clone();
    Inverted method{w.teacher, student, {.temperature = 20}, {}, {Shape<3>{8, 8, 1}, few_pixels(), {}, crop}};
    fit(method, data::None{}, adam, {.epochs = 4, .batch_size = 32, .seed = 3});
    CHECK(method.source_policy().synthesised() == 4 * 48);
    CHECK(w.accuracy(student) > 0.75);  // chance is 1/3
    results.push_back(weights(student));
  }
  CHECK(results[0] == results[1]);
  CHECK(weights(w.teacher) == before);
}

TEST_CASE("DeepInversion's turn: pixels stay in their range, the objective falls, later turns do nothing") {
  World w;
  Inverted method{w.teacher, w.student, {}, {}, {Shape<3>{8, 8, 1}, few_pixels()}};
  using State = Inverted::source::State<float, Cpu, data::None>;
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  std::vector<double> lowest;
  for (const int steps : {1, 60}) {
    auto& policy = method.source_policy();
    policy.options.steps = steps;
    State state(policy, Setup<Cpu>{cpu, 0, 0, 40, 1}, data::None{});
    State::batch_type batch;
    state.begin(0);
    CHECK(state.next(batch));
    lowest.push_back(state.take_turn(method, tape, batch, Progress{.epochs = 1}, Rng(1)));
    CHECK(*std::max_element(batch.inputs.begin(), batch.inputs.end()) <= (steps > 1 ? 2.f : 9.f));
    CHECK(batch.inputs.extent(0) == 40);
    CHECK(state.next(batch));
    CHECK(state.take_turn(method, tape, batch, Progress{.epochs = 1}, Rng(2)) == 0);
    CHECK(policy.synthesised() == 48);
  }
  CHECK(lowest[1] < 0.5 * lowest[0]);
}

TEST_CASE("contrastive inversion: a student that learns, the same bits each time, a fresh generator") {
  World w;
  const auto features = source::batch_norm_channels(w.teacher);
  const auto make = [&](Network<Net>& student, Network<Gen>& generator) {
    return Contrasted{w.teacher, student, {.temperature = 20}, {}, {generator, Shape<3>{8, 8, 1}, features, few_views(), {}, crop}};
  };
  std::vector<std::vector<float>> results;
  for (int run = 0; run < 2; ++run) {
    auto student = w.student.clone();
    auto generator = w.generator.clone();
    auto method = make(student, generator);
    const Report report = fit(method, data::None{}, adam, {.epochs = 8, .batch_size = 32, .seed = 3});
    CHECK(method.source_policy().synthesised() == 8 * 24);
    CHECK(report.epochs.back().loss < 0.8 * report.epochs.front().loss);
    CHECK(weights(generator) != weights(w.generator));
    results.push_back(weights(student));
  }
  CHECK(results[0] == results[1]);
}

TEST_CASE("the contrastive term is that of cosines over the batch and the bank") {
  // With its weight at 0 synthesis must differ; with the bank off it must differ from a bank in use.
  World w;
  std::vector<std::vector<float>> results;
  for (const auto& [weight, negatives] : {std::pair{0.0, 16}, {0.8, 16}, {0.8, 0}}) {
    auto student = w.student.clone();
    auto generator = w.generator.clone();
    auto options = few_views();
    options.weight = weight, options.negatives = negatives;
    Contrasted method{w.teacher, student, {}, {}, {generator, Shape<3>{8, 8, 1}, source::batch_norm_channels(w.teacher), options}};
    fit(method, data::None{}, adam, {.epochs = 2, .batch_size = 32, .seed = 3});
    results.push_back(weights(generator));
  }
  CHECK(results[0] != results[1]);
  CHECK(results[1] != results[2]);
}

TEST_CASE("ABD around both inversions") {
  World w;
  const teacher::ShuffleOptions shuffle{.clones = 2, .layers = 1};
  const auto run = [&](auto&& method) {
    fit(method, data::None{}, adam, {.epochs = 4, .batch_size = 16, .seed = 3});
    CHECK(method.source_policy().outcome().verdict == defense::VaccineOutcome::Verdict::accepted);
    CHECK(method.source_policy().outcome().mask_rate > 0);
    CHECK(method.student_policy().calls() == 12);
  };
  const defense::VaccineOptions vaccine{.shuffle = shuffle, .until = 1, .pseudo_test_batches = 9, .skipped_batches = 2, .selection = {.tail = -1}};
  auto one = w.student.clone(), two = w.student.clone();
  run(WithAbd<Inverted, loss::KlBatch>{w.teacher, {one, w.teacher, {.start = 0.75, .search_steps = 1}}, {}, {}, {{Shape<3>{8, 8, 1}, few_pixels()}, w.teacher, vaccine}});
  run(WithAbd<Contrasted, loss::KlBatch>{w.teacher, {two, w.teacher, {.start = 0.75, .search_steps = 1}}, {}, {},
                                         {{w.generator, Shape<3>{8, 8, 1}, source::batch_norm_channels(w.teacher), few_views()}, w.teacher, vaccine}});
}

TEST_CASE("what does not fit is said") {
  using Bare = nn::Sequential<nn::Conv2d, nn::GlobalAveragePool, nn::Linear>;
  Network<Bare> bare(Bare(nn::Conv2d{1, 4}, {}, nn::Linear{4, 3}), 1), pupil = bare.clone();
  CHECK_THROWS_AS(source::batch_norm_channels(bare), value_error);
  World w;
  const auto once = [](auto&& method) { fit(method, data::None{}, adam, {.epochs = 1, .batch_size = 16}); };
  const Shape<3> image{8, 8, 1};
  const auto kept = weights(pupil);
  CHECK_THROWS_AS(once(DeepInversion<Bare, Bare>{bare, pupil, {}, {}, {image, few_pixels()}}), value_error);
  CHECK_THROWS_AS(once(Cmi<Bare, Bare, Gen>{bare, pupil, {}, {}, {w.generator, image, 16, few_views()}}), value_error);
  CHECK(weights(pupil) == kept);
  CHECK_THROWS_AS(once(Contrasted{w.teacher, w.student, {}, {}, {w.generator, image, 7, few_views()}}), shape_error);
  CHECK_THROWS_AS(once(Contrasted{w.teacher, w.student, {}, {}, {w.generator, Shape<3>{4, 4, 1}, 16, few_views()}}), shape_error);
  auto bad = few_pixels();
  bad.pool = 3;
  CHECK_THROWS_AS(once(Inverted{w.teacher, w.student, {}, {}, {image, bad}}), value_error);
  bad = few_pixels(), bad.low = 3;
  CHECK_THROWS_AS(once(Inverted{w.teacher, w.student, {}, {}, {image, bad}}), value_error);
  auto bank = few_views();
  bank.bank = 2;
  CHECK_THROWS_AS(once(Contrasted{w.teacher, w.student, {}, {}, {w.generator, image, 16, bank}}), value_error);
}
