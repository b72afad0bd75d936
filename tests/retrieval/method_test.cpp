// ReAugKD as a method: what must be identical is identical bit for bit, what must hurt hurts.
#include <doctest/doctest.h>

#include <numeric>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/method/reaugkd.hpp>
#include <retort/retrieval/calibrator.hpp>
#include <retort/teacher/cached.hpp>
#include <retort/train/callbacks.hpp>

#include "scratch_folder.hpp"
#include "support.hpp"
#include "toy_data.hpp"

using namespace retort;

namespace {

struct embedding;
using TeacherNet = nn::Sequential<nn::Linear, nn::Relu, nn::Tap<embedding>, nn::Linear>;
using StudentNet = nn::Sequential<nn::Linear, nn::Tap<embedding>, nn::Relu, nn::Linear>;
using Method = ReAugKd<TeacherNet, StudentNet, embedding>;
const optim::Adam optimizer{.lr = 5e-3f};

/// Overlapping clusters, a trained teacher, an untrained student of three numbers.
struct World {
  TrainTest<2> data = ::test::blobs(700, 6, 5, 1).split(0.5, 3);
  Network<TeacherNet> teacher{TeacherNet(nn::Linear{6, 24}, nn::Relu{}, {}, nn::Linear{24, 5}), 1};
  Network<StudentNet> start{StudentNet(nn::Linear{6, 3}, {}, nn::Relu{}, nn::Linear{3, 5}), 2};
  FitOptions options{.epochs = 12, .batch_size = 32, .seed = 5};
  World() {
    LabelsOnly<TeacherNet> first{teacher::None{}, teacher};
    fit(first, data.train, optimizer, {.epochs = 12, .seed = 1});
  }
  Method method(Network<StudentNet>& student, double alpha, predict::Retrieval<embedding> predictor = {}) {
    return Method{{teacher, {.width = 3, .epochs = 10}}, student, {.relation = {.loss = {.temperature = 0.1}, .weight = alpha}}, {}, {}, std::move(predictor)};
  }
};
std::vector<float> values_of(auto& network) {
  std::vector<float> out;
  for (const auto& [name, view] : network.tensors()) out.insert(out.end(), view.begin(), view.end());
  return out;
}
template <class M, class Data>
Tensor<float, 2> answers(M& method, const Data& data) {
  Cpu cpu;
  return predict_logits<float>(cpu, data, [&](auto& pass, const auto& batch) {
    return result_of(method.predictor_policy().answer(pass, method.student_policy().result(), batch));
  });
}
template <class Data>
double accuracy(const Tensor<float, 2>& logits, const Data& data) {
  return metrics::accuracy(logits, data.label_view());
}
bool same(const Tensor<float, 2>& a, const Tensor<float, 2>& b) { return a.shape() == b.shape() && std::equal(a.begin(), a.end(), b.begin()); }

}  // namespace

TEST_CASE("ReAugKD: with alpha = 0 and lambda = 1 training and answers are plain distillation's, bit for bit") {
  World w;
  Network<StudentNet> one = w.start.clone(), two = w.start.clone(), three = w.start.clone();
  Method reaug = w.method(one, 0, {.lambda = 1});
  fit(reaug, w.data.train, optimizer, w.options);
  using Plain = Hinton<TeacherNet, StudentNet>::with_loss<loss::SoftCrossEntropy<BatchMean, loss::NoTSquared>>;
  Plain plain{w.teacher, two};
  fit(plain, w.data.train, optimizer, w.options);
  CHECK(values_of(one) == values_of(two));
  CHECK(same(answers(reaug, w.data.test), answers(plain, w.data.test)));

  Method aligned = w.method(three, 1, {.lambda = 1});
  fit(aligned, w.data.train, optimizer, w.options);
  CHECK(values_of(three) != values_of(two));
  Cpu cpu;
  CHECK(same(answers(aligned, w.data.test), predict_logits(three, w.data.test, cpu)));
}

TEST_CASE("ReAugKD: the teacher is untouched; head, keys and student are functions of the seed; lambda = 0 is retrieval alone") {
  World w;
  const auto before = values_of(w.teacher);
  Network<StudentNet> one = w.start.clone(), two = w.start.clone();
  Method a = w.method(one, 1, {.k = 5, .temperature = 0.2, .lambda = 0}), b = w.method(two, 1, {.k = 5, .temperature = 0.2, .lambda = 0});
  fit(a, w.data.train, optimizer, w.options);
  fit(b, w.data.train, optimizer, w.options);
  CHECK(values_of(w.teacher) == before);
  CHECK(values_of(one) == values_of(two));
  const auto& base = a.predictor_policy().base;
  REQUIRE(base.size() == w.data.train.size());
  CHECK(std::equal(base.keys().begin(), base.keys().end(), b.predictor_policy().base.keys().begin()));
  CHECK(std::equal(base.keys().begin(), base.keys().end(), a.teacher_policy().keys().begin()));  // the student's training left them alone
  for (index_t i = 0; i < base.size(); ++i) {
    double square = 0;
    for (index_t d = 0; d < base.width(); ++d) square += static_cast<double>(base.keys()(i, d) * base.keys()(i, d));
    CHECK(square == doctest::Approx(1).epsilon(::test::tolerance<float>::value));
  }

  Cpu cpu;
  auto x = predict_logits<float>(cpu, w.data.test, [&](auto& pass, const auto& batch) { return tap<embedding>(one.forward(pass, batch.input)); });
  retrieval::scale_to_unit(x.view());
  const auto retrieved = retrieval::retrieved_labels(base, base.nearest(cpu, x.view(), 5), 0.2);
  const auto mixed = answers(a, w.data.test);
  for (index_t i = 0; i < mixed.extent(0); ++i) {
    double sum = 0;
    for (index_t c = 0; c < 5; ++c) {
      CHECK(std::exp(static_cast<double>(mixed(i, c))) == doctest::Approx(retrieved(i, c)).epsilon(::test::tolerance<float>::gradient));
      sum += std::exp(static_cast<double>(mixed(i, c)));
    }
    CHECK(sum == doctest::Approx(1).epsilon(::test::tolerance<float>::value));
  }
}

TEST_CASE("ReAugKD: the relational loss aligns queries; shuffled soft labels hurt; the callback measures the mixture") {
  World w;
  Network<StudentNet> aligned = w.start.clone(), plain = w.start.clone();
  Method full = w.method(aligned, 3, {.k = 8, .temperature = 0.1, .lambda = 0}), kd = w.method(plain, 0, {.k = 8, .temperature = 0.1, .lambda = 0});
  const FitOptions longer{.epochs = 30, .batch_size = 32, .seed = 5};
  const Report report = fit(full, w.data.train, optimizer, longer, callbacks::Accuracy{w.data.test});
  fit(kd, w.data.train, optimizer, longer);
  const double with = accuracy(answers(full, w.data.test), w.data.test), without = accuracy(answers(kd, w.data.test), w.data.test);
  CHECK(report.final_metric("accuracy") == with);
  CHECK(with > without + 0.1);  // an unaligned student's queries do not live in the space of the keys

  Cpu cpu;
  const auto recall = [&](Network<StudentNet>& student) {
    auto x = predict_logits<float>(cpu, w.data.test, [&](auto& pass, const auto& batch) { return tap<embedding>(student.forward(pass, batch.input)); });
    retrieval::scale_to_unit(x.view());
    const auto own = full.predictor_policy().base.nearest(cpu, x.view(), 8);
    const auto z = full.teacher_policy().project(full.teacher_policy().embeddings(cpu, w.data.test).view());
    const auto taught = full.predictor_policy().base.nearest(cpu, z.view(), 8);
    index_t hits = 0;
    for (index_t q = 0; q < own.queries(); ++q)
      for (index_t j = 0; j < 8; ++j) hits += std::find(taught.ids.view().row(q), taught.ids.view().row(q) + 8, own.ids(q, j)) != taught.ids.view().row(q) + 8;
    return static_cast<double>(hits) / static_cast<double>(8 * own.queries());
  };
  CHECK(recall(aligned) > 2 * recall(plain));

  std::vector<index_t> order(static_cast<std::size_t>(w.data.train.size()));
  std::iota(order.begin(), order.end(), index_t{0});
  Rng rng(1);
  rng.shuffle(order);
  const auto& base = full.predictor_policy().base;
  Tensor<float, 2> keys(base.keys().shape), labels(base.soft_labels().shape);
  std::copy(base.keys().begin(), base.keys().end(), keys.begin());
  for (index_t i = 0; i < base.size(); ++i) std::copy_n(base.soft_labels().row(order[static_cast<std::size_t>(i)]), 5, labels.view().row(i));
  retrieval::KnowledgeBase<> shuffled;
  shuffled.add(keys, labels);
  full.predictor_policy().base = std::move(shuffled);
  CHECK(accuracy(answers(full, w.data.test), w.data.test) < with - 0.2);
}

TEST_CASE("ReAugKD: given embeddings and soft labels stand for a teacher; integer keys answer alike") {
  World w;
  Cpu cpu;
  Network<StudentNet> one = w.start.clone(), two = w.start.clone();
  Method live = w.method(one, 1);
  fit(live, w.data.train, optimizer, w.options);
  Tensor<float, 2> soft(live.teacher_policy().soft_labels().shape);
  std::copy(live.teacher_policy().soft_labels().begin(), live.teacher_policy().soft_labels().end(), soft.begin());
  teacher::Given<embedding> table(std::move(soft), live.teacher_policy().embeddings(cpu, w.data.train));
  using FromFile = ReAugKd<teacher::Given<embedding>, StudentNet, embedding>;
  FromFile given{{std::move(table), {.width = 3, .epochs = 10}}, two, {.relation = {.loss = {.temperature = 0.1}, .weight = 1}}};
  fit(given, w.data.train, optimizer, w.options);
  CHECK(std::equal(given.teacher_policy().keys().begin(), given.teacher_policy().keys().end(), live.teacher_policy().keys().begin()));
  const double close = accuracy(answers(live, w.data.test), w.data.test);
  CHECK(accuracy(answers(given, w.data.test), w.data.test) == doctest::Approx(close).epsilon(0.05));

  using Small = Method::with_predictor<predict::Retrieval<embedding, retrieval::KnowledgeBase<std::int8_t>>>;
  Network<StudentNet> three = w.start.clone();
  Small small{{w.teacher, {.width = 3, .epochs = 10}}, three, {.relation = {.loss = {.temperature = 0.1}, .weight = 1}}};
  fit(small, w.data.train, optimizer, w.options);
  CHECK(values_of(three) == values_of(one));
  CHECK(accuracy(answers(small, w.data.test), w.data.test) == doctest::Approx(close).epsilon(0.05));
}

TEST_CASE("ReAugKD: bad input is a typed error, and the student is as it was") {
  World w;
  Network<StudentNet> student = w.start.clone();
  Cpu cpu;
  const auto before = values_of(student);
  Method unset{{w.teacher, {}}, student};
  CHECK(::test::message_of<value_error>([&] { fit(unset, w.data.train, optimizer, w.options); }).find("give the width of the student's embedding") != std::string::npos);
  Method wide{{w.teacher, {.width = 4, .epochs = 1}}, student};
  CHECK(::test::message_of<shape_error>([&] { fit(wide, w.data.train, optimizer, w.options); }).find("loss::RelationalKl: the student's feature has shape") !=
        std::string::npos);
  CHECK(values_of(student) == before);

  Method untrained = w.method(student, 1);
  CHECK(::test::message_of<value_error>([&] { answers(untrained, w.data.test); }).find("the base is empty") != std::string::npos);
  CHECK_THROWS_AS(untrained.teacher_policy().project(Tensor<float, 2>(Shape{2, 24}).view()), error);
  fit(untrained, w.data.train, optimizer, {.epochs = 1});
  auto& predictor = untrained.predictor_policy();
  predictor.lambda = 1.5;
  CHECK(::test::message_of<value_error>([&] { answers(untrained, w.data.test); }).find("in [0, 1], got 1.5") != std::string::npos);
  predictor.lambda = 0.5;
  predictor.k = 0;
  CHECK_THROWS_AS(answers(untrained, w.data.test), value_error);
  predictor.k = 100000;  // the whole base
  CHECK(answers(untrained, w.data.test).extent(0) == w.data.test.size());
  predictor.temperature = 0;
  CHECK_THROWS_AS(answers(untrained, w.data.test), value_error);
  predictor.temperature = 0.1;
  predictor.base = retrieval::KnowledgeBase<>();
  Tensor<float, 2> keys(Shape{2, 7}), soft(Shape{2, 5}), other(Shape{2, 4});
  for (index_t i = 0; i < 2; ++i) soft(i, 0) = other(i, 0) = 1;
  predictor.base.add(keys, soft);
  CHECK(::test::message_of<shape_error>([&] { answers(untrained, w.data.test); }).find("expected queries of width 7") != std::string::npos);
  predictor.base = retrieval::KnowledgeBase<>();
  predictor.base.add(Tensor<float, 2>(Shape{2, 3}), other);
  CHECK(::test::message_of<shape_error>([&] { answers(untrained, w.data.test); }).find("the student answers 5 classes, the base holds 4") != std::string::npos);

  CHECK_THROWS_AS(teacher::Given<embedding>(Tensor<float, 2>(Shape{2, 3}), Tensor<float, 2>(Shape{2, 3})), value_error);  // rows of sum 0
  CHECK_THROWS_AS(teacher::Given<embedding>(std::move(soft), Tensor<float, 2>(Shape{3, 3})), shape_error);
  Tensor<float, 2> labels(Shape{3, 5});
  for (index_t i = 0; i < 3; ++i) labels(i, 1) = 1;
  ReAugKd<teacher::Given<embedding>, StudentNet, embedding> few{{teacher::Given<embedding>(std::move(labels), Tensor<float, 2>(Shape{3, 8})), {.width = 3}}, student};
  CHECK(::test::message_of<shape_error>([&] { fit(few, w.data.train, optimizer, w.options); }).find("3 rows for a data set of 350") != std::string::npos);
}
