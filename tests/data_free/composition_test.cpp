// ABD around whole methods, which stay as they are: what compiles, runs and does what its parts promise.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/censor/pseudo_labels.hpp>
#include <retort/defense/with_abd.hpp>
#include <retort/method/dafl.hpp>
#include <retort/method/dfad.hpp>
#include <retort/method/dfq.hpp>
#include <retort/method/disk.hpp>
#include <retort/method/out_of_distribution.hpp>
#include <retort/method/zskt.hpp>

#include "support.hpp"

using namespace retort;

namespace {

struct feature;
using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::GlobalAveragePool, nn::Tap<feature>, nn::Linear>;
Net net(index_t width) {
  return Net(nn::Conv2d{1, width}, nn::BatchNorm{width}, nn::Relu{}, nn::Conv2d{width, width}, nn::BatchNorm{width}, nn::Relu{},
             nn::GlobalAveragePool{}, {}, nn::Linear{width, 3});
}
using Gen = source::DataFreeNet;

/// A frozen teacher that counts how often it is asked; the second one does not promise to repeat itself.
struct Counting : teacher::Frozen<Net> {
  int* asked;
  Counting(Network<Net>& network, int& count) : Frozen(network), asked(&count) {}
  template <class T, class B, class E>
  auto answer(Pass<T, B>& pass, const E& batch) {
    ++*asked;
    return result_of(Frozen::answer(pass, batch));
  }
};
struct Moody : Counting {
  using Counting::Counting;
  static constexpr bool answers_repeat = false;
};

/// Grey 8 x 8 images whose class is where they are bright.
Dataset<4> shapes(index_t n) {
  Dataset<4> data{Tensor<float, 4>(Shape<4>{n, 8, 8, 1}), {}, 3, "shapes"};
  Rng rng(1);
  for (index_t i = 0; i < n; ++i) {
    const auto label = static_cast<std::int32_t>(i % 3);
    data.labels.push_back(label);
    for (index_t y = 0; y < 8; ++y)
      for (index_t x = 0; x < 8; ++x) {
        const bool on = label == 0 ? y < 4 : label == 1 ? x % 2 == 0 : (x + y) % 2 == 0;
        data.inputs(i, y, x, 0) = (on ? 0.8f : 0.1f) + 0.1f * rng.uniform();
      }
  }
  return data;
}

struct World {
  Dataset<4> data = shapes(240);
  Network<Net> teacher{net(8), 1}, student{net(6), 2};
  Network<Gen> generator{source::data_free_generator(8, 8, 8, 1, 8, 2), 3};
  source::GeneratorOptions schedule{.latent = 8, .batches_per_epoch = 6, .student_steps = 3};
  World() {
    LabelsOnly<Net> method{teacher::None{}, teacher};
    fit(method, data, optim::Adam{.lr = 0.01f}, {.epochs = 3, .batch_size = 32});
  }
};
template <class N>
std::vector<float> weights(N& network) {
  std::vector<float> out;
  for (auto& [name, v] : network.tensors()) out.insert(out.end(), v.begin(), v.end());
  return out;
}
const optim::Adam adam{.lr = 2e-3f, .clip = {.norm = 5}};

template <class Method>
void runs(World& w, Method& method, bool falls = false) {
  const auto s = weights(w.student), g = weights(w.generator), t = weights(w.teacher);
  const Report report = fit(method, data::None{}, adam, {.epochs = 3, .batch_size = 16, .seed = 3});
  CHECK(weights(w.student) != s);
  CHECK(weights(w.generator) != g);
  CHECK(weights(w.teacher) == t);
  if (falls) CHECK(report.epochs.back().loss < report.epochs.front().loss);
}

}  // namespace

TEST_CASE("every generator method trains generator and student, and leaves the teacher alone") {
  World w;
  const auto run = [&]<class Method>(std::type_identity<Method>, auto objective) {
    Method method{w.teacher, w.student, {}, {}, {w.generator, w.schedule, objective}};
    runs(w, method);
  };
  run(std::type_identity<Zskt<Net, Net, Gen>>{}, Zskt<Net, Net, Gen>::source::objective_type{});
  run(std::type_identity<ZsktDataFree<Net, Net, Gen>>{}, ZsktDataFree<Net, Net, Gen>::source::objective_type{});
  run(std::type_identity<Dafl<Net, Net, Gen, feature>>{}, Dafl<Net, Net, Gen, feature>::source::objective_type{});
  run(std::type_identity<Dfq<Net, Net, Gen>>{}, Dfq<Net, Net, Gen>::source::objective_type{});
  run(std::type_identity<Dfad<Net, Net, Gen>>{}, Dfad<Net, Net, Gen>::source::objective_type{});
}

TEST_CASE("a teacher that repeats itself answers once for all the student's steps on a batch") {
  World w;
  std::vector<std::vector<float>> results;
  const auto run = [&]<class Teacher>(std::type_identity<Teacher>) {
    auto student = w.student.clone();
    auto generator = w.generator.clone();
    int asked = 0;
    typename Zskt<Net, Net, Gen>::template with_teacher<Teacher> method{Teacher(w.teacher, asked), student, {}, {}, {generator, w.schedule}};
    fit(method, data::None{}, adam, {.epochs = 2, .batch_size = 16, .seed = 3});
    results.push_back(weights(student));
    return asked;
  };
  CHECK(run(std::type_identity<Counting>{}) == 2 * 6 * (1 + 1));  // the generator's turn, and the first of the student's three
  CHECK(run(std::type_identity<Moody>{}) == 2 * 6 * (1 + 3));
  CHECK(results[0] == results[1]);
}

TEST_CASE("self-retrospection alone trains in phases, and the generator's rate comes back") {
  World w;
  using Method = WithRetrospection<Zskt<Net, Net, Gen>>;
  auto student = w.student.clone();
  auto generator = w.generator.clone();
  Method method{w.teacher, {student, w.teacher, {.search_steps = 1}}, {}, {}, {generator, w.schedule}};
  const float rate = method.source_policy().options.optimizer.lr;
  const auto [early, late] = defense::fit_in_phases(method, data::None{}, adam, {.epochs = 2, .batch_size = 16, .seed = 3}, optim::Adam{.lr = 5e-4f}, 1);
  CHECK(method.student_policy().calls() == 6 * 3);
  CHECK(early.epochs.size() + late.epochs.size() == 3);
  CHECK(method.source_policy().options.optimizer.lr == rate);
}

TEST_CASE("zero-shot transfer with attention over a stage") {
  World w;
  using Staged = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Tap<feature>, nn::GlobalAveragePool, nn::Linear>;
  const auto staged = [](index_t width) { return Staged(nn::Conv2d{1, width}, nn::BatchNorm{width}, {}, {}, {}, nn::Linear{width, 3}); };
  Network<Staged> teacher(staged(8), 1), student(staged(4), 2);
  ZsktWithAttention<Staged, Staged, Gen, Cpu, feature> method{teacher, student, loss::Joint{loss::KlMean{}, loss::OnTaps<loss::AttentionTransfer, feature>{.weight = 250}}, {}, {w.generator, w.schedule}};
  const Report report = fit(method, data::None{}, adam, {.epochs = 3, .batch_size = 16, .seed = 3});
  CHECK(report.epochs.back().loss < report.epochs.front().loss);
}

TEST_CASE("WithAbd<Zskt>: selection, vaccine, then self-retrospection; the same bits each time") {
  World w;
  using Method = WithAbd<Zskt<Net, Net, Gen>>;
  std::vector<std::vector<float>> results;
  const auto teacher = weights(w.teacher);
  for (int run = 0; run < 2; ++run) {
    auto student = w.student.clone();
    auto generator = w.generator.clone();
    Method method{w.teacher,
                  {student, w.teacher, {.start = 0.5, .search_steps = 2}},
                  {},
                  {},
                  {{generator, w.schedule}, w.teacher, {.shuffle = {.clones = 2, .layers = 1}, .until = 0.5, .pseudo_test_batches = 5, .skipped_batches = 2, .selection = {.tail = -1}}}};
    fit(method, data::None{}, adam, {.epochs = 4, .batch_size = 16, .seed = 3});
    const auto& outcome = method.source_policy().outcome();
    CHECK(outcome.verdict == defense::VaccineOutcome::Verdict::accepted);  // any tail is accepted here
    CHECK(outcome.trials == 1);
    CHECK(outcome.mask_rate > 0);
    CHECK(method.student_policy().calls() == 2 * 6 * 3);  // the second half: two epochs of six batches, three steps each
    CHECK(method.student_policy().perturbation_norm() > 0);
    CHECK(weights(w.teacher) == teacher);
    results.push_back(weights(student));
  }
  CHECK(results[0] == results[1]);
}

TEST_CASE("without a proper vaccine all trials are used, and synthesis is that of the plain method") {
  World w;
  using Plain = Zskt<Net, Net, Gen>;
  auto one = w.student.clone(), two = w.student.clone();
  auto g1 = w.generator.clone(), g2 = w.generator.clone();
  Plain plain{w.teacher, one, {}, {}, {g1, w.schedule}};
  fit(plain, data::None{}, adam, {.epochs = 2, .batch_size = 16, .seed = 3});
  WithVaccine<Plain> guarded{w.teacher, two, {}, {},
                             {{g2, w.schedule}, w.teacher, {.shuffle = {.layers = 1}, .until = 1, .pseudo_test_batches = 5, .skipped_batches = 2, .selection = {.tail = 2, .trials = 3}}}};
  fit(guarded, data::None{}, adam, {.epochs = 2, .batch_size = 16, .seed = 3});
  CHECK(guarded.source_policy().outcome().verdict == defense::VaccineOutcome::Verdict::rejected);
  CHECK(guarded.source_policy().outcome().trials == 3);
  CHECK(weights(one) == weights(two));
  CHECK(weights(g1) == weights(g2));
}

TEST_CASE("the vaccine's term reaches the generator, also without the shuffled teacher's gradient, and lambda scales it") {
  World w;
  using Method = WithVaccine<Zskt<Net, Net, Gen>>;
  std::vector<std::vector<float>> results;
  for (const auto& [lambda, through] : {std::pair{0.0, true}, {0.5, true}, {0.5, false}}) {
    auto student = w.student.clone();
    auto generator = w.generator.clone();
    Method method{w.teacher, student, {}, {},
                  {{generator, w.schedule}, w.teacher, {.lambda = lambda, .shuffle = {.clones = 1, .layers = 1}, .shuffled_gradient = through, .until = 1, .pseudo_test_batches = 0}}};
    fit(method, data::None{}, adam, {.epochs = 1, .batch_size = 16, .seed = 3});
    CHECK(method.source_policy().outcome().verdict == defense::VaccineOutcome::Verdict::untested);
    results.push_back(weights(generator));
  }
  CHECK(results[0] != results[1]);
  CHECK(results[1] != results[2]);
  auto generator = w.generator.clone();
  Zskt<Net, Net, Gen>::source plain(generator, w.schedule);
  Method::source bad(std::move(plain), w.teacher, {.pseudo_test_batches = 5});
  Cpu cpu;
  CHECK_THROWS_AS((Method::source::State<float, Cpu, data::None>(bad, Setup<Cpu>{cpu, 0, 0, 16, 1}, data::None{})), value_error);
}

TEST_CASE("WithAbd over out-of-distribution images censors instead, and self-retrospection follows") {
  World w;
  using Method = WithAbd<OutOfDistributionKd<Net, Net>, loss::KlBatch>;
  static_assert(std::is_same_v<Method::source, source::OutOfDistribution>);
  Tensor<float, 3> photo(Shape<3>{32, 32, 1});
  Rng rng(4);
  for (float& x : photo) x = rng.uniform();
  const auto patches = source::make_patches(photo.view(), 64, 8, 1);
  auto student = w.student.clone();
  Method method{w.teacher,
                {student, w.teacher, {.search_steps = 2, .detach_clean = false}, {.temperature = 8}},
                {.temperature = 8},
                {w.teacher, {.shuffle = {.layers = 1}}}};
  const auto [early, late] = defense::fit_in_phases(method, data::augmented(patches, data::HorizontalFlip{}), adam, {.epochs = 3, .batch_size = 16, .seed = 3},
                                                    optim::Adam{.lr = 5e-4f}, 1);
  CHECK(early.epochs.size() == 3);
  CHECK(late.epochs.size() == 1);
  CHECK(method.student_policy().calls() == 4);  // the late phase alone
  CHECK(method.censor_policy().outcome().mask_rate > 0);
  CHECK(method.student_policy().options.start == defense::late_phase);  // put back
  CHECK(weights(student) != weights(w.student));
}

TEST_CASE("soft suppression: the selection decides whether it acts, the bound where unlearning ends") {
  World w;
  using Method = WithVaccine<OutOfDistributionKd<Net, Net>>;
  Cpu cpu;
  const auto train = [&](const defense::SuppressOptions& options, bool select) {
    auto student = w.student.clone();
    Method method{w.teacher, student, {.temperature = 8}, {w.teacher, options}};
    auto& censor = method.censor_policy();
    CHECK(censor.outcome().verdict == defense::VaccineOutcome::Verdict::untested);
    if (select) CHECK(&censor.select(w.data, cpu) == &censor.outcome());
    fit(method, w.data, adam, {.epochs = 3, .batch_size = 32, .seed = 3});
    return std::pair{weights(student), censor.outcome()};
  };
  const defense::SuppressOptions published{.lambda = 0.5, .shuffle = {.layers = 1}, .until = 2};
  auto options = published;
  const auto [unbounded, untested] = train(options, false);
  CHECK(untested.mask_rate > 0);
  options.selection.tail = -1;  // accepts whatever comes first
  const auto [accepted, first] = train(options, true);
  CHECK(first.verdict == defense::VaccineOutcome::Verdict::accepted);
  CHECK(first.trials == 1);
  options.selection = {.tail = 2, .trials = 3};
  const auto [rejected, none] = train(options, true);
  CHECK(none.verdict == defense::VaccineOutcome::Verdict::rejected);
  CHECK(none.trials == 3);
  options.selection.best = true;
  const auto [best, largest] = train(options, true);
  CHECK(largest.verdict == defense::VaccineOutcome::Verdict::best);
  CHECK(largest.trials == 3);
  CHECK(largest.tail >= none.tail);
  CHECK(best != rejected);
  auto student = w.student.clone();
  OutOfDistributionKd<Net, Net> plain{w.teacher, student, {.temperature = 8}};
  fit(plain, w.data, adam, {.epochs = 3, .batch_size = 32, .seed = 3});
  CHECK(rejected == weights(student));
  CHECK(unbounded != rejected);
  options = published;
  options.bound = 0;  // at its end before it starts: suspicious samples are dropped
  const auto bounded = train(options, false).first;
  options.lambda = 0;
  CHECK(bounded == train(options, false).first);
  CHECK(bounded != unbounded);
  options = published;
  options.bound = 1e30;
  CHECK(unbounded == train(options, false).first);
}

TEST_CASE("WithAbd<DiSK over out-of-distribution images>: a learned censor inside the vaccine's, both at work") {
  World w;
  using Plain = Disk<Net, Net, censor::GuideB23>;
  using DiskOverOod = Plain::with_source<source::OutOfDistribution>::with_censor<censor::PseudoLabels<Plain::censor>>;
  using Method = WithAbd<DiskOverOod>;
  auto student = w.student.clone();
  Method method{w.teacher, {student, w.teacher, {.start = 0.5, .search_steps = 2}}, {.help = {.count = 3}},
                {w.teacher, {.shuffle = {.layers = 1}}, DiskOverOod::censor{Plain::censor{censor::guide_b23(3, 8, 8)}}}};
  fit(method, w.data, adam, {.epochs = 2, .batch_size = 32, .seed = 3});
  CHECK(method.censor_policy().summary().turns > 0);
  CHECK(method.censor_policy().outcome().mask_rate > 0);
  CHECK(method.student_policy().calls() > 0);
  CHECK(weights(student) != weights(w.student));
}

TEST_CASE("methods that match batch-norm statistics say so when the teacher has none") {
  using Bare = nn::Sequential<nn::Conv2d, nn::GlobalAveragePool, nn::Linear>;
  Network<Bare> teacher(Bare(nn::Conv2d{1, 4}, nn::GlobalAveragePool{}, nn::Linear{4, 3}), 1), student = teacher.clone();
  World w;
  Dfq<Bare, Bare, Gen> method{teacher, student, {}, {}, {w.generator, w.schedule}};
  CHECK_THROWS_AS(fit(method, data::None{}, adam, {.epochs = 1, .batch_size = 16}), value_error);
}
