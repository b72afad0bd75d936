// Policies that decide on the host, on both backends: what they read and write there goes by way of the tape.

#include <retort/censor/threshold.hpp>
#include <retort/censor/weights.hpp>
#include <retort/cuda/kernels.cuh>
#include <retort/autograd/ops_statistics.hpp>
#include <retort/defense/with_abd.hpp>
#include <retort/loss/relational.hpp>
#include <retort/loss/supervised_contrastive.hpp>
#include <retort/method/hinton.hpp>
#include <retort/method/zskt.hpp>
#include <retort/source/generator_networks.hpp>
#include <retort/teacher/cached.hpp>
#include <retort/train/fit.hpp>

#include "fixture.hpp"

namespace {

using namespace retort;
using namespace test;
using Cpu64 = Double<Cpu>;
using Cuda64 = Double<Cuda>;

using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
Net net(index_t width) {
  return Net(nn::Conv2d{1, width}, nn::BatchNorm{width}, nn::Relu{}, nn::Conv2d{width, width}, nn::BatchNorm{width}, nn::Relu{}, nn::GlobalAveragePool{},
             nn::Linear{width, 3});
}

/// ABD around ZSKT: selection of a vaccine, the vaccine, then self-retrospection by the hyper-gradient. What the student, the
/// generator and the outcome came to.
template <class Backend>
std::vector<double> defended(bool graphs) {
  using Method = WithAbd<Zskt<Net, Net, source::DataFreeNet, Backend>>;
  Network<Net, Backend> teacher(net(4), 1), student(net(3), 2);
  Network<source::DataFreeNet, Backend> generator(source::data_free_generator(4, 4, 4, 1, 2, 1, {{0.5f}, {0.25f}}), 3);
  Method method{teacher,
                {student, teacher, {.start = 0.5, .search_steps = 1, .neumann = {.terms = 2}}},
                {},
                {},
                {{generator, {.latent = 4, .batches_per_epoch = 3, .generator_steps = 1, .student_steps = 2}},
                 teacher,
                 {.shuffle = {.clones = 2, .layers = 1}, .until = 0.75, .pseudo_test_batches = 2, .skipped_batches = 1, .selection = {.tail = -1}}}};
  FitOptions options{.epochs = 2, .batch_size = 4, .seed = 3};
  options.cuda_graphs = graphs;
  const Report report = fit(method, data::None{}, optim::Adam{.lr = 0.01f}, options);
  CHECK(method.student_policy().calls() > 0);
  const auto& outcome = method.source_policy().outcome();
  CHECK(outcome.verdict == defense::VaccineOutcome::Verdict::accepted);
  std::vector<double> out{report.final_loss(), outcome.mask_rate, outcome.tail, method.student_policy().perturbation_norm()};
  append_tensors(student, out);
  append_tensors(generator, out);
  return out;
}

}  // namespace

TEST_CASE("ABD around a generator: one method text on both backends") {
  const auto cuda = defended<Cuda64>(false);
  same(RETORT_CPU_SIDE(defended<Cpu64>(false), cuda), cuda, 1e-6);
  CHECK(defended<Cuda64>(true) == cuda);
}

namespace {
/// Answers from a table averaged with a network's as probabilities, weights by sample, then only what the student finds hard.
template <class Backend, class Censor>
std::vector<double> tabled(Censor censor) {
  using Frozen = teacher::Frozen<nn::Linear, Backend>;
  using Mean = teacher::Ensemble<teacher::ProbabilityMean, teacher::Cached<Frozen>, Frozen>;
  using Method = typename Hinton<Mean, nn::Linear, Backend>::template with_censor<Censor>;
  Network<nn::Linear, Backend> one(nn::Linear{5, 3}, 1), two(nn::Linear{5, 3}, 2), student(nn::Linear{5, 3}, 3);
  Dataset<2> data{Tensor<float, 2>(Shape{17, 5}), {}, 3, "rows"};
  const auto values = normals<float>(17 * 5, 4);
  std::copy(values.begin(), values.end(), data.inputs.begin());
  for (int i = 0; i < 17; ++i) data.labels.push_back(i % 3);
  Method method{Mean(teacher::ProbabilityMean{2}, teacher::Cached<Frozen>(one), Frozen(two)), student, {.soft = {.temperature = 2}}, std::move(censor)};
  const Report report = fit(method, data, optim::Sgd{.lr = 0.1f}, {.epochs = 2, .batch_size = 6, .seed = 1});
  std::vector<double> out{report.final_loss()};
  append_tensors(student, out);
  return out;
}
}  // namespace

TEST_CASE("tables of answers and weights, and a censor that looks at labels: both backends") {
  std::vector<float> weights(17);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 0.25f * static_cast<float>(i % 5);
  const auto given = tabled<Cuda64>(censor::Weights{weights});
  same(RETORT_CPU_SIDE(tabled<Cpu64>(censor::Weights{weights}), given), given, 1e-9);
  using Hard = censor::Threshold<censor::LabelLoss>;
  const auto hard = tabled<Cuda64>(Hard{.low = 0.8});
  same(RETORT_CPU_SIDE(tabled<Cpu64>(Hard{.low = 0.8}), hard), hard, 1e-9);
  CHECK(hard != tabled<Cuda64>(Hard{}));
}

namespace {
/// Value and gradient of a loss of two tables of features.
template <class B, class F>
std::vector<double> felt(F&& loss) {
  B backend;
  Tape<double, B> tape(backend);
  const auto s = tensor_of<B>(Shape{6, 4}, normals<double>(24, 1)), t = tensor_of<B>(Shape{6, 4}, normals<double>(24, 2));
  const auto v = tape.leaf(s.view());
  const auto value = loss(tape, v, tape.constant(t.view()));
  tape.backward(value);
  std::vector<double> out(25, tape.item(value));
  B::copy(out.data() + 1, tape.gradient(v).data, 24 * sizeof(double));
  return out;
}
}  // namespace

TEST_CASE("losses over pairs and statistics of a batch: both backends") {
  const auto both = [](auto&& loss) {
    const auto cuda = felt<Cuda>(loss);
    same(RETORT_CPU_SIDE(felt<Cpu>(loss), cuda), cuda, 1e-9);
  };
  both([](auto& tape, auto s, auto t) { return loss::RelationalDistance{}(tape, s, t); });
  both([](auto& tape, auto s, auto t) { return loss::RelationalAngle{}(tape, s, t); });
  both([](auto& tape, auto s, auto t) { return loss::CorrelationCongruence{}(tape, s, t); });
  both([](auto& tape, auto s, auto t) {
    static_cast<void>(t);
    const auto labels = tape.template from_host<std::int32_t>(Shape<1>{6}, [](View<std::int32_t, 1> to) {
      for (index_t i = 0; i < 6; ++i) to(i) = static_cast<std::int32_t>(i / 2);
    });
    return loss::SupervisedContrastive<>{}(tape, s, View<const std::int32_t, 1>(labels));
  });
  both([](auto& tape, auto s, auto t) {
    return statistics_distance(tape, s, View<const double, 1>{t.value.data, {4}}, View<const double, 1>{t.value.data + 4, {4}});
  });
}
