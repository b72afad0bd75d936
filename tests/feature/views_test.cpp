// Losses that see their batch in another form: shared vocabularies, two views (MLLD), one of several.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/feature.hpp>
#include <retort/loss/multi_level.hpp>
#include <retort/loss/vocabulary.hpp>
#include <retort/method/hinton.hpp>
#include <retort/source/two_views.hpp>
#include <retort/train/fit.hpp>

#include "loss/row_loss_fixture.hpp"
#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::test;

namespace {

using V = Var<double, 2>;
using Plain = Exchange<double, Cpu, V, V, V>;
V leaf_of(Tape<double, Cpu>& tape, const std::vector<double>& v, index_t rows) {
  return tape.leaf(View<const double, 2>{v.data(), {rows, static_cast<index_t>(v.size()) / rows}});
}

/// The terms of MLLD at one temperature by definition; masks are 0 or 1 per sample and class.
double mlld_terms(const std::vector<double>& s, const std::vector<double>& t, index_t n, index_t c, double temperature, const std::vector<double>& samples,
                  const std::vector<double>& classes, double kl_weight = 1) {
  const auto softmax = [&](const std::vector<double>& z) {
    std::vector<double> p(z.size());
    for (index_t i = 0; i < n; ++i) {
      double total = 0;
      for (index_t k = 0; k < c; ++k) total += p[static_cast<std::size_t>(i * c + k)] = std::exp(z[static_cast<std::size_t>(i * c + k)] / temperature);
      for (index_t k = 0; k < c; ++k) p[static_cast<std::size_t>(i * c + k)] /= total;
    }
    return p;
  };
  const auto a = softmax(s), b = softmax(t);
  const auto at = [&](const std::vector<double>& p, index_t i, index_t k) { return p[static_cast<std::size_t>(i * c + k)]; };
  double kl = 0, batch = 0, cls = 0;
  for (index_t i = 0; i < n; ++i) {
    for (index_t k = 0; k < c; ++k) kl += samples[static_cast<std::size_t>(i)] * at(b, i, k) * std::log(at(b, i, k) / at(a, i, k));
    for (index_t j = 0; j < n; ++j) {
      double d = 0;
      for (index_t k = 0; k < c; ++k) d += at(b, i, k) * at(b, j, k) - at(a, i, k) * at(a, j, k);
      batch += samples[static_cast<std::size_t>(i)] * d * d;
    }
  }
  for (index_t k = 0; k < c; ++k)
    for (index_t l = 0; l < c; ++l) {
      double d = 0;
      for (index_t i = 0; i < n; ++i) d += at(b, i, k) * at(b, i, l) - at(a, i, k) * at(a, i, l);
      cls += classes[static_cast<std::size_t>(k)] * d * d;
    }
  const auto dn = static_cast<double>(n), dc = static_cast<double>(c);
  return 0.9 * (kl_weight * temperature * temperature * kl / dn + batch / dn + cls / dc);
}

}  // namespace

TEST_CASE("a vocabulary map: both sides see what they share, labels follow, the rest is ignored") {
  Problem<double> s(3, 5, 1), t(3, 7, 2);
  const VocabularyMap map({4, 0, 2}, {1, 6, 3});
  s.labels = {0, 3, 2};  // column 3 is not shared
  Problem<double> shared(3, 3);
  shared.labels = {1, ignored_label, 2};
  const int from_s[] = {4, 0, 2}, from_t[] = {1, 6, 3};
  for (std::size_t r = 0; r < 3; ++r)
    for (std::size_t k = 0; k < 3; ++k) {
      shared.student[3 * r + k] = s.student[5 * r + static_cast<std::size_t>(from_s[k])];
      shared.teacher[3 * r + k] = t.student[7 * r + static_cast<std::size_t>(from_t[k])];
    }
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Plain exchange{tape, {}, {s.labels.data(), {3}}, {}, leaf_of(tape, s.student, 3), leaf_of(tape, t.student, 3)};
  const loss::Sum inner{loss::ForwardKl<TokenMean, loss::TSquared>{.temperature = 2}, loss::CrossEntropy<TokenMean>{}};
  const loss::OnSharedVocabulary over{map, inner};
  const auto value = over.evaluate(exchange);
  tape.backward(value);
  CHECK(value.value.data[0] == doctest::Approx(shared.evaluate(inner)));
  const auto g = tape.gradient(exchange.student);
  for (index_t r = 0; r < 3; ++r) {
    CHECK(g(r, 1) == 0);
    for (std::size_t k = 0; k < 3; ++k) CHECK(g(r, from_s[k]) == doctest::Approx(shared.d_student[static_cast<std::size_t>(3 * r) + k]));
  }
}

TEST_CASE("different vocabularies without a map are an error that names the way out; maps are checked") {
  Problem<double> s(3, 5, 1), t(3, 7, 2);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Plain exchange{tape, {}, {s.labels.data(), {3}}, {}, leaf_of(tape, s.student, 3), leaf_of(tape, t.student, 3)};
  CHECK_THROWS_WITH_AS(loss::evaluate(loss::SoftTargets{}, exchange),
                       "row loss: student logits have shape (3, 5), teacher logits have shape (3, 7); networks of different classes or vocabularies need "
                       "loss::OnSharedVocabulary",
                       shape_error);
  CHECK_NOTHROW(loss::OnSharedVocabulary{VocabularyMap::first(5), loss::SoftTargets{}}.evaluate(exchange));
  CHECK_THROWS_WITH_AS((loss::OnSharedVocabulary{VocabularyMap::first(6), loss::SoftTargets{}}.evaluate(exchange)),
                       doctest::Contains("names column 5 of the student"), shape_error);
  CHECK_THROWS_WITH_AS(VocabularyMap({1, 2}, {1, 1}), doctest::Contains("the teacher's list names a column twice"), value_error);
  CHECK_THROWS_WITH_AS(VocabularyMap({1, 2, 3}, {1, 2}), doctest::Contains("got 3 and 2"), value_error);
}

TEST_CASE("MLLD by definition: paper and as published") {
  const index_t n = 4, c = 3;
  Problem<double> p(2 * n, c, 5);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  for (index_t i = 0; i < n; ++i) p.labels[static_cast<std::size_t>(n + i)] = p.labels[static_cast<std::size_t>(i)];
  const auto half = [&](const std::vector<double>& v, index_t view) { return std::vector<double>(v.begin() + view * n * c, v.begin() + (view + 1) * n * c); };
  const auto sw = half(p.student, 0), ss = half(p.student, 1), tw = half(p.teacher, 0), ts = half(p.teacher, 1);

  // the masks: samples up to the median confidence, classes up to the median mass
  std::vector<double> sure(4), mass(3), samples(4), classes(3);
  for (std::size_t i = 0; i < 4; ++i) {
    double total = 0;
    for (std::size_t k = 0; k < 3; ++k) total += std::exp(tw[3 * i + k]);
    for (std::size_t k = 0; k < 3; ++k) {
      const double q = std::exp(tw[3 * i + k]) / total;
      sure[i] = std::max(sure[i], q), mass[k] += q;
    }
  }
  auto by_sure = sure, by_mass = mass;
  std::sort(by_sure.begin(), by_sure.end());
  std::sort(by_mass.begin(), by_mass.end());
  for (std::size_t i = 0; i < 4; ++i) samples[i] = sure[i] <= (by_sure[1] + by_sure[2]) / 2;
  for (std::size_t k = 0; k < 3; ++k) classes[k] = mass[k] <= by_mass[1];
  CHECK(std::count(samples.begin(), samples.end(), 1.) == 2);
  CHECK(std::count(classes.begin(), classes.end(), 1.) == 2);

  const double hard = 0.2 * p.value(loss::CrossEntropy<BatchMean>{});
  const std::vector<double> all_s(4, 1.), all_c(3, 1.), none_s(4, 0.), none_c(3, 0.);
  double paper = hard, published = hard;
  for (double temperature : {4., 3., 5., 2., 6.}) {
    paper += mlld_terms(sw, tw, n, c, temperature, samples, classes) + mlld_terms(ss, ts, n, c, temperature, all_s, all_c);
    // as published: the masks' means, 1/2 and 2/3, as constants; the strong view's divergence alone, weak logits at 2 and 6
    published += 0.5 * mlld_terms(sw, tw, n, c, temperature, all_s, none_c) + 2. / 3 * (mlld_terms(sw, tw, n, c, temperature, none_s, all_c));
    const bool again = temperature == 2 || temperature == 6;
    Problem<double> kd(n, c);
    kd.student = again ? sw : ss, kd.teacher = again ? tw : ts;
    published += 0.9 * kd.value(loss::SoftTargets{.temperature = temperature});
  }
  Plain exchange{tape, {}, {p.labels.data(), {2 * n}}, {}, leaf_of(tape, p.student, 2 * n), leaf_of(tape, p.teacher, 2 * n)};
  CHECK(loss::MultiLevel<loss::MlldPaper>{}.evaluate(exchange).value.data[0] == doctest::Approx(paper).epsilon(value_tolerance<double>));
  CHECK(loss::MultiLevel<loss::MlldAsPublished>{}.evaluate(exchange).value.data[0] == doctest::Approx(published).epsilon(value_tolerance<double>));
  exchange.labels = {};
  CHECK_THROWS_WITH_AS(loss::MultiLevel<loss::MlldPaper>{}.evaluate(exchange), doctest::Contains("expected labelled samples in two views"), value_error);
}

TEST_CASE("MLLD trains on two views of each sample: the first half as it is, the second augmented") {
  Dataset<4> data{Tensor<float, 4>(Shape{40, 6, 6, 1}), {}, 4, "noise"};
  Rng rng(5);
  for (float& x : data.inputs) x = static_cast<float>(rng.normal());
  for (index_t i = 0; i < 40; ++i) data.labels.push_back(static_cast<std::int32_t>(i % 4));
  using Net = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
  const auto net = [](index_t w, std::uint64_t seed) { return Network<Net>(Net(nn::Linear{36, w}, nn::Relu{}, nn::Linear{w, 4}), seed); };
  auto teacher = net(16, 1), student = net(8, 2);
  using Views = source::TwoViews<data::Pipeline<data::HorizontalFlip>>;
  using Mlld = Hinton<Net, Net>::with_source<Views>::with_loss<loss::MultiLevel<loss::MlldPaper>>;
  const Views views{data::Pipeline{data::HorizontalFlip{}}};
  Mlld method{teacher, student, {}, {}, views};
  const Report report = fit(method, data, optim::Sgd{.lr = 0.05f}, {.epochs = 5, .batch_size = 16});
  CHECK(report.epochs[4].loss < report.epochs[0].loss);

  Cpu cpu;
  const Setup<Cpu> setup{cpu, 4, 40, 16, 3};
  Views::State<float, Cpu, Dataset<4>> state(views, setup, data);
  state.begin(0);
  source::Batch<float, 4> batch;
  REQUIRE(state.next(batch));
  CHECK(batch.inputs.extent(0) == 32);
  int flipped = 0;
  for (index_t i = 0; i < 16; ++i) {
    CHECK(batch.ids(i) == batch.ids(16 + i));
    CHECK(batch.labels(i) == batch.labels(16 + i));
    const float* original = data.inputs.view().row(batch.ids(i));
    CHECK(std::equal(original, original + 36, batch.inputs.row(i)));
    flipped += !std::equal(original, original + 36, batch.inputs.row(16 + i));
  }
  CHECK(flipped > 2);
  CHECK(flipped < 14);
}

TEST_CASE("one of several losses: the chosen one's value, and an error beyond the last") {
  Problem<double> p(4, 6, 2);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Plain exchange{tape, {}, {p.labels.data(), {4}}, {}, leaf_of(tape, p.student, 4), leaf_of(tape, p.teacher, 4)};
  loss::OneOf choice{loss::SoftTargets{.temperature = 4}, loss::CrossEntropy<BatchMean>{}};
  CHECK(choice.evaluate(exchange).value.data[0] == doctest::Approx(p.value(loss::SoftTargets{.temperature = 4})));
  choice.chosen = 1;
  CHECK(choice.evaluate(exchange).value.data[0] == doctest::Approx(p.value(loss::CrossEntropy<BatchMean>{})));
  choice.chosen = 2;
  CHECK_THROWS_WITH_AS(choice.evaluate(exchange), doctest::Contains("chose loss 2 of 2"), value_error);
}

TEST_CASE("a loss that warms up grows over its epochs") {
  Problem<double> p(4, 6, 2);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Plain exchange{tape, {}, {p.labels.data(), {4}}, {}, leaf_of(tape, p.student, 4), leaf_of(tape, p.teacher, 4)};
  const loss::WarmUp warm{loss::SoftTargets{.temperature = 4}};
  for (int epoch : {0, 9, 19, 50}) {
    exchange.progress.epoch = epoch;
    CHECK(warm.evaluate(exchange).value.data[0] == doctest::Approx(std::min(1., (epoch + 1) / 20.) * p.value(loss::SoftTargets{.temperature = 4})));
  }
}

TEST_CASE("feature losses whose channels differ name both shapes and the connectors") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Tensor<double, 4> a(Shape{2, 4, 4, 3}), b(Shape{2, 4, 4, 5});
  CHECK_THROWS_WITH_AS(loss::Flow{}(tape, tape.constant(a.view()), tape.constant(a.view()), tape.constant(b.view()), tape.constant(a.view())),
                       "loss::Flow: the student's feature has shape (2, 3, 3), the teacher's (2, 5, 3); give OnTaps a connector (loss/connectors.hpp)", shape_error);
}
