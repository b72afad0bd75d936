#include <doctest/doctest.h>

#include <retort.hpp>
#include <retort/loss/regression.hpp>
#include <retort/method/sea.hpp>
#include <retort/nn/zoo/l3.hpp>
#include <retort/teacher/targets.hpp>
#include <retort/train/average_precision.hpp>

#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;
namespace zoo = nn::zoo;

namespace {
struct middle;
using TeacherNet = nn::Sequential<nn::Linear, nn::Relu, nn::Linear, nn::Tap<middle>, nn::Linear>;
using StudentNet = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
TeacherNet teacher_net() { return TeacherNet(nn::Linear{6, 16}, nn::Relu{}, nn::Linear{16, 8}, {}, nn::Linear{8, 3}); }
StudentNet student_net(index_t out) { return StudentNet(nn::Linear{6, 12}, nn::Relu{}, nn::Linear{12, out}); }
/// Unlabelled vectors.
Dataset<2> pool(index_t n, std::uint64_t seed) { return {test::randn<float>(Shape<2>{n, 6}, seed), {}, 0, "pool"}; }
}  // namespace

TEST_CASE("Sea: an unlabelled set, the teacher's tap projected by a PCA of a subset; the targets are regressed") {
  Network<TeacherNet> teacher(teacher_net(), 1);
  Network<StudentNet> student(student_net(3), 2);
  const auto data = pool(200, 3);
  using Method = Sea<TeacherNet, StudentNet, projection::StandardizedPca, sample::Uniform, middle>;
  Method method{{teacher, projection::standardized_pca(3), {.fit_on = 50}}, student};
  const Report report = fit(method, data, optim::Adam{.lr = 1e-2f}, {.epochs = 40, .batch_size = 32, .seed = 5});
  CHECK(report.epochs.back().loss < 0.1 * report.epochs.front().loss);
  const auto& targets = method.teacher_policy().targets();
  Cpu cpu;
  const auto z = embeddings_of<middle>(teacher, data, cpu);
  const auto chosen = sample::Uniform{}.select({z.view(), {}, {}}, 50, Rng(5).fork(0x73616d70));
  projection::Moments m(8);
  for (const index_t i : chosen) m.add(z.view().rows(i, i + 1));
  const auto expected = projection::standardized_pca(3).fit(m).transform(z);
  CHECK(std::equal(expected.begin(), expected.end(), targets.begin()));
  const auto answers = predict_logits(student, data, cpu);
  const auto r2 = metrics::r_squared(targets, answers);
  CHECK(r2.total > 0.9);
  CHECK(r2.component.size() == 3);
  CHECK_THROWS_WITH_AS(fit(method, Dataset<2>{test::randn<float>(Shape<2>{4, 6}, 1), {0, 1}, 2, "half labelled"}, optim::Adam{}),
                       "dataset 'half labelled': 4 inputs (4, 6) but 2 labels", shape_error);
}

TEST_CASE("Sea with the identity and d = n is the plain mean squared error of embeddings") {
  Network<TeacherNet> teacher(teacher_net(), 1);
  Network<StudentNet> student(student_net(3), 2);
  const auto data = pool(32, 3);
  Cpu cpu;
  const auto z = embeddings_of(teacher, data, cpu);
  const auto before = predict_logits(student, data, cpu);
  double expected = 0;
  for (index_t i = 0; i < z.size(); ++i) expected += std::pow(static_cast<double>(z.data()[i]) - static_cast<double>(before.data()[i]), 2) / static_cast<double>(z.size());
  Sea<TeacherNet, StudentNet, projection::Identity> method{teacher, student};
  const Report report = fit(method, data, optim::Sgd{.lr = 0}, {.epochs = 1, .batch_size = 32});
  CHECK(report.epochs[0].loss == doctest::Approx(expected).epsilon(1e-5));
}

TEST_CASE("Sea: a teacher with a front end of its own, and a projection fitted elsewhere") {
  Network<TeacherNet> teacher(teacher_net(), 1);
  Network<StudentNet> student(student_net(2), 2);
  const auto data = pool(40, 3), seen_by_teacher = pool(40, 9);
  Cpu cpu;
  const auto elsewhere = projection::standardized_pca(2).fit(projection::moments_of(embeddings_of(teacher, pool(100, 4), cpu).view()));
  const auto z = embeddings_of(teacher, seen_by_teacher, cpu);
  Sea<TeacherNet, StudentNet> method{{teacher, {}, {.fitted = &elsewhere, .embeddings = z.view()}}, student};
  fit(method, data, optim::Adam{}, {.epochs = 1});
  const auto expected = elsewhere.transform(z);
  CHECK(std::equal(expected.begin(), expected.end(), method.teacher_policy().targets().begin()));
  const auto other = pool(41, 3);
  CHECK_THROWS_WITH_AS(fit(method, other, optim::Adam{}, {.epochs = 1}), "teacher::Embedding: embeddings (40, 3) for a data set of 41", shape_error);
}

TEST_CASE("Sea: the store gives the same targets, and is made anew for other inputs or weights") {
  const test::ScratchFolder folder;
  const std::string path = folder.file("store");
  Network<TeacherNet> teacher(teacher_net(), 1);
  Network<StudentNet> student(student_net(2), 2);
  const auto run = [&](const Dataset<2>& data, const std::string& store) {
    Sea<TeacherNet, StudentNet> method{{teacher, projection::standardized_pca(2), {.store = store}}, student};
    fit(method, data, optim::Sgd{.lr = 0}, {.epochs = 1});
    const auto t = method.teacher_policy().targets();
    return std::vector<float>(t.begin(), t.end());
  };
  const auto data = pool(40, 3), more = pool(50, 8);
  const auto direct = run(data, "");
  CHECK(run(data, path) == direct);  // writes
  const auto file = [&] { std::ifstream in(path, std::ios::binary); return std::string(std::istreambuf_iterator<char>(in), {}); };
  const auto first = file();
  CHECK(run(data, path) == direct);  // reads
  CHECK(file() == first);
  CHECK(run(more, path) == run(more, ""));
  CHECK(file() != first);
  teacher.tensors()[0].second.data[0] += 1;
  CHECK(run(more, path) == run(more, ""));
}

TEST_CASE("an output that cannot be negative stops at the mean square of the targets' negative parts; a signed one goes on") {
  // Constant inputs, so that only a bias can learn: each output entry fits its own mean.
  const index_t n = 64;
  auto targets = test::randn<float>(Shape<2>{n, 1}, 5);
  Dataset<2> data{Tensor<float, 2>(Shape<2>{n, n}), {}, 0, "one-hot"};
  for (index_t i = 0; i < n; ++i) data.inputs.view()(i, i) = 1;  // a free parameter per sample
  double floor = 0;
  for (const float y : targets) floor += std::pow(std::min(static_cast<double>(y), 0.), 2) / static_cast<double>(n);
  const auto reached = [&](auto architecture) {
    Network<decltype(architecture)> student(architecture, 1);
    Tensor<float, 2> copy(targets.shape());
    std::copy(targets.begin(), targets.end(), copy.begin());
    using Method = Distiller<teacher::Targets, student::Trainable<decltype(architecture)>, loss::LogitMse<ElementMean>>;
    Method method{teacher::Targets(std::move(copy)), student};
    return fit(method, data, optim::Adam{.lr = 5e-2f}, {.epochs = 300, .batch_size = n}).epochs.back().loss;
  };
  CHECK(reached(nn::Sequential<nn::Linear, nn::Relu>(nn::Linear{n, 1}, nn::Relu{})) >= floor * (1 - 1e-4));
  CHECK(reached(nn::Linear{n, 1}) < 0.01 * floor);
}

TEST_CASE("a table of targets: rows that are not finite, a data set of another size, and one that is augmented") {
  Network<StudentNet> student(student_net(2), 2);
  Distiller<teacher::Targets, student::Trainable<StudentNet>, loss::LogitMse<ElementMean>> method{teacher::Targets(test::randn<float>(Shape<2>{5, 2}, 1)), student};
  CHECK_THROWS_WITH_AS(fit(method, pool(4, 1), optim::Adam{}), "teacher::Targets: 5 rows for a data set of 4", shape_error);
  auto torn = test::randn<float>(Shape<2>{5, 2}, 1);
  torn.view()(3, 1) = std::nanf("");
  CHECK_THROWS_WITH_AS(teacher::Targets(std::move(torn)), "teacher::Targets: row 3 is not finite", value_error);

  Cpu cpu;
  const Dataset<4> images{Tensor<float, 4>(Shape{5, 2, 2, 1}), {0, 1, 0, 1, 0}, 2, "images"};
  teacher::Targets table(test::randn<float>(Shape<2>{5, 2}, 1));
  const Setup<Cpu> setup{cpu, 2, 5, 5, 0};
  CHECK_NOTHROW(table.prepare<float>(setup, images));
  CHECK_THROWS_WITH_AS(table.prepare<float>(setup, data::augmented(images, data::HorizontalFlip{})),
                       "teacher::Targets: the data is augmented, so one answer per sample cannot be right; use teacher::Frozen or drop the augmentation", value_error);
}

TEST_CASE("finite differences through a student of convolutions, batch norms and the global maximum, on each regression loss") {
  Cpu cpu;
  Network<zoo::L3, Double<Cpu>> net(zoo::l3({2, 2, 3, 3}), 4);
  auto x = test::randn(Shape<4>{3, 16, 16, 1}, 6);
  const auto target = test::randn(Shape<2>{3, 3}, 7);
  const auto check = [&](auto loss) {
    return grad_check(cpu, [&](auto& tape, auto image) {
      auto pass = Pass<double, Cpu>::training(tape, Rng(1));
      pass.statistics = BatchStatistics::batch;
      return loss(tape, net.forward(pass, image), tape.constant(target.view()));
    }, x).error;
  };
  CHECK(check(loss::Hint{}) < 1e-6);
  CHECK(check(loss::Huber{0.7}) < 1e-6);
  CHECK(check(loss::CosineDistance{}) < 1e-6);
  CHECK(check(loss::WeightedSquares{{1, 2, 0.5}}) < 1e-6);
}

TEST_CASE("regression losses: values by hand and bad input") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Tensor<double, 2> s(Shape<2>{2, 2}), t(Shape<2>{2, 2});
  s.view()(0, 0) = 3, s.view()(0, 1) = 4, s.view()(1, 0) = 1;
  t.view()(0, 0) = 3, t.view()(0, 1) = 1, t.view()(1, 1) = 2;
  const auto value = [&](auto loss) { return tape.item(loss(tape, tape.constant(s.view()), tape.constant(t.view()))); };
  CHECK(value(loss::WeightedSquares{{3, 1}}) == doctest::Approx((9. / 4 + (3. + 4) / 4) / 2));
  CHECK(value(loss::CosineDistance{}) == doctest::Approx(1 - 13 / (5 * std::sqrt(10.)) / 2));
  CHECK(value(loss::Huber{2}) == doctest::Approx((2 * (3 - 1.) + 0.5 + 2) / 4));  // |d| = 3, 1, 2: at delta both forms are 2
  CHECK_THROWS_AS(value(loss::WeightedSquares{{1}}), shape_error);
  CHECK_THROWS_AS(value(loss::Huber{0}), value_error);
}

TEST_CASE("EdgeL3: pruned weights stay zero through training, the rest regains the embedding") {
  Network<StudentNet> teacher(student_net(4), 1);
  Network<StudentNet> copy = teacher.clone();
  const auto data = pool(128, 3);
  EdgeL3<StudentNet> method{teacher, {copy, {0, 0.5}}};
  const auto zeros = [&] {
    index_t n = 0;
    const auto weights = copy.tensors()[2].second;
    for (const float w : weights) n += w == 0;
    return n;
  };
  CHECK(zeros() == 24);
  CHECK(method.student_policy().remaining() == copy.parameter_count() - 24);
  const Report report = fit(method, data, optim::Adam{.lr = 3e-3f}, {.epochs = 30, .batch_size = 32});
  CHECK(zeros() == 24);
  CHECK(report.epochs.back().loss < 0.5 * report.epochs.front().loss);
  Network<StudentNet> other = teacher.clone();
  CHECK_THROWS_WITH_AS((student::Pruned<StudentNet>(other, {0.5})), "student::Pruned: 1 sparsities for 2 weight tensors", value_error);
}
