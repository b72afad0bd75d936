#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/method/hinton.hpp>
#include <retort/student/ema.hpp>
#include <retort/teacher/cached.hpp>
#include <retort/teacher/in_training.hpp>
#include <retort/train/fit.hpp>

#include "support.hpp"
#include "toy_data.hpp"

using namespace retort;

namespace {
using TeacherNet = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
TeacherNet teacher_net() { return TeacherNet(nn::Linear{8, 32}, nn::Relu{}, nn::Linear{32, 3}); }
using StudentNet = nn::Sequential<nn::Linear>;
StudentNet student_net() { return StudentNet(nn::Linear{8, 3}); }

template <class N>
std::vector<float> weights(N& network) {
  std::vector<float> out;
  for (auto& [name, v] : network.tensors()) out.insert(out.end(), v.begin(), v.end());
  return out;
}
template <class N, class D>
double accuracy_of(N& network, const D& data) {
  typename N::context cpu;
  const auto z = predict_logits(network, data, cpu);
  int hits = 0;
  for (index_t i = 0; i < z.extent(0); ++i) {
    const auto* row = z.view().row(i);
    hits += std::max_element(row, row + z.extent(1)) - row == data.labels[static_cast<std::size_t>(i)];
  }
  return static_cast<double>(hits) / static_cast<double>(z.extent(0));
}
}  // namespace

TEST_CASE("labels only, Hinton, cached and ensemble teachers learn a separable task") {
  const auto data = test::blobs(600, 8, 3, 1);
  Network<TeacherNet> teacher(teacher_net(), 1);
  LabelsOnly<TeacherNet> supervised{teacher::None{}, teacher};
  const Report report = fit(supervised, data, optim::Sgd{.lr = 0.1f, .momentum = 0.9f}, {.epochs = 10, .seed = 3});
  CHECK(report.epochs.size() == 10);
  CHECK(report.epochs.back().loss < 0.5 * report.epochs.front().loss);
  CHECK(accuracy_of(teacher, data) > 0.95);

  Network<StudentNet> student(student_net(), 2), twin(student_net(), 2), averaged(student_net(), 2);
  Hinton<TeacherNet, StudentNet> method{teacher, student, {.soft = {.temperature = 4.f, .weight = 0.9f}, .hard = {.weight = 0.1f}}};
  const FitOptions options{.epochs = 8, .seed = 7};
  fit(method, data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, options);
  CHECK(accuracy_of(student, data) > 0.9);

  // A cached teacher gives the same bits as the live one.
  Hinton<teacher::Cached<teacher::Frozen<TeacherNet>>, StudentNet> cached{teacher, twin, {.soft = {.temperature = 4.f, .weight = 0.9f}, .hard = {.weight = 0.1f}}};
  fit(cached, data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, options);
  CHECK(weights(twin) == weights(student));

  // Two equal teachers average to one, by logits up to rounding.
  Network<StudentNet> third(student_net(), 2);
  using Frozen = teacher::Frozen<TeacherNet>;
  MultiTeacher<teacher::LogitMean, StudentNet, Cpu, TeacherNet, TeacherNet> multi{
      teacher::Ensemble(teacher::LogitMean{}, Frozen(teacher), Frozen(teacher)), third,
      {.soft = {.temperature = 4.f, .weight = 0.9f}, .hard = {.weight = 0.1f}}};
  fit(multi, data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, options);
  const auto a = weights(third), b = weights(student);
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-3));

  Network<StudentNet> fourth(student_net(), 2);
  Hinton<teacher::Ensemble<teacher::ProbabilityMean, Frozen, Frozen>, student::Ema<StudentNet>> mean{
      teacher::Ensemble(teacher::ProbabilityMean{4}, Frozen(teacher), Frozen(teacher)), student::Ema<StudentNet>(fourth, 0.9), {}};
  fit(mean, data, optim::Adam{.lr = 0.01f}, options);
  CHECK(accuracy_of(mean.student_policy().result(), data) > 0.9);
}

TEST_CASE("a teacher in training mode moves its running statistics and nothing else; a frozen one moves nothing") {
  using Net = nn::Sequential<nn::Linear, nn::BatchNorm, nn::Relu, nn::Linear>;
  const auto data = test::blobs(300, 8, 3, 1);
  Network<Net> teacher(Net(nn::Linear{8, 16}, nn::BatchNorm{16}, nn::Relu{}, nn::Linear{16, 3}), 1);
  LabelsOnly<Net> supervised{teacher::None{}, teacher};
  fit(supervised, data, optim::Sgd{.lr = 0.1f, .momentum = 0.9f}, {.epochs = 6, .seed = 3});
  const auto parameters = [&] {
    std::vector<float> out;
    teacher.visit([&](const std::string&, auto& p) {
      if constexpr (requires { p.slot; }) out.insert(out.end(), p.value.begin(), p.value.end());
    });
    return out;
  };
  const auto all = weights(teacher), learned = parameters();
  const auto distil = [&](auto method) { fit(method, data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, {.epochs = 8, .seed = 7}); };

  Network<StudentNet> a(student_net(), 2), b(student_net(), 2);
  distil(Hinton<Net, StudentNet>{teacher, a});
  CHECK(weights(teacher) == all);
  distil(Hinton<teacher::InTraining<Net>, StudentNet>{teacher, b});
  CHECK(parameters() == learned);
  CHECK(weights(teacher) != all);
  CHECK(weights(b) != weights(a));
  CHECK(accuracy_of(b, data) > 0.9);
}

TEST_CASE("probability mean: the mixed logits reproduce the mean probabilities at the temperature") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  auto a = test::randn(Shape{5, 4}, 1, 3.0), b = test::randn(Shape{5, 4}, 2, 3.0);
  const double t = 4;
  const auto mixed = teacher::ProbabilityMean{t}(tape, tape.constant(a.view()), tape.constant(b.view()));
  auto p = [&](Var<double, 2> z) { return softmax(tape, scale(tape, 1 / t, z)); };
  const auto pa = p(tape.constant(a.view())), pb = p(tape.constant(b.view())), pm = p(mixed);
  for (index_t i = 0; i < pm.size(); ++i) CHECK(pm.value.data[i] == doctest::Approx((pa.value.data[i] + pb.value.data[i]) / 2));

  // members of one another's classes, and what the ensemble says of itself
  Network<nn::Linear, Double<Cpu>> three(nn::Linear{4, 3}, 1), five(nn::Linear{4, 5}, 2);
  using Frozen = teacher::Frozen<nn::Linear, Double<Cpu>>;
  teacher::Ensemble<teacher::ProbabilityMean, Frozen, Frozen> unequal(teacher::ProbabilityMean{t}, Frozen(three), Frozen(five));
  auto pass = Pass<double, Cpu>::frozen(tape);
  const Question<Var<double, 2>> question{tape.constant(View<const double, 2>(a.view())), {}};
  CHECK_THROWS_WITH_AS(unequal.answer(pass, question),
                       "teacher::Ensemble: one member answers with (5, 3), another with (5, 5); an ensemble averages over the same classes", shape_error);
  CHECK(unequal.describe().ends_with(", mean of probabilities at 4"));
}

TEST_CASE("same seed, same bits; threads change rounding only; double agrees with float") {
  const auto data = test::blobs(300, 8, 3, 4);
  Network<TeacherNet> teacher(teacher_net(), 1);
  auto run = [&](int threads, std::uint64_t seed) {
    Network<TeacherNet> student(teacher_net(), 5);
    Hinton<TeacherNet, TeacherNet> method{teacher, student, {}};
    fit(method, data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f, .weight_decay = 1e-4f}, {.epochs = 3, .batch_size = 50, .seed = seed, .threads = threads});
    return weights(student);
  };
  const auto one = run(1, 7);
  CHECK(run(1, 7) == one);
  CHECK(run(1, 8) != one);
  const auto two = run(2, 7);
  CHECK(run(2, 7) == two);
  for (std::size_t i = 0; i < one.size(); ++i) CHECK(two[i] == doctest::Approx(one[i]).epsilon(1e-3));

  Network<TeacherNet, Double<Cpu>> teacher64(teacher_net()), student64(teacher_net());
  Network<TeacherNet> student32(teacher_net(), 5);
  teacher64.copy_from(teacher);
  student64.copy_from(student32);
  Hinton<TeacherNet, TeacherNet>::with_backend<Double<Cpu>> method{teacher64, student64, {}};
  fit(method, data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f, .weight_decay = 1e-4f}, {.epochs = 3, .batch_size = 50, .seed = 7});
  std::size_t i = 0;
  for (auto& [name, v] : student64.tensors())
    for (double w : v) CHECK(w == doctest::Approx(one[i++]).epsilon(1e-2));
}

TEST_CASE("a failed fit leaves the student as it was and says what happened") {
  auto data = test::blobs(60, 8, 3, 9);
  Network<TeacherNet> teacher(teacher_net(), 1), student(teacher_net(), 2);
  Hinton<TeacherNet, TeacherNet> method{teacher, student, {}};
  const auto before = weights(student);
  CHECK_THROWS_AS(fit(method, data, optim::Sgd{.lr = 1e30f}, {.epochs = 5}), value_error);  // diverges to NaN
  CHECK(weights(student) == before);

  auto broken = test::blobs(60, 8, 3, 9);
  broken.labels[17] = 3;
  CHECK_THROWS_WITH_AS(fit(method, broken, optim::Sgd{}, {}), "dataset 'blobs': sample 17 has label 3, expected 0 to 2", value_error);
  broken.labels[17] = 0;
  broken.inputs(5, 2) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(fit(method, broken, optim::Sgd{}, {}), value_error);
  const Dataset<2> empty;
  CHECK_THROWS_AS(fit(method, empty, optim::Sgd{}, {}), value_error);
  const auto narrow = test::blobs(60, 5, 3, 9);
  CHECK_THROWS_AS(fit(method, narrow, optim::Sgd{}, {}), shape_error);
  CHECK_THROWS_AS(fit(method, data, optim::Sgd{}, {.batch_size = 0}), value_error);
  CHECK_THROWS_AS(fit(method, data, optim::Sgd{.momentum = 1.5f}, {}), value_error);
  CHECK(weights(student) == before);
}
