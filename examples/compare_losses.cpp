// Distils one student from one teacher by every loss of the library, on Fashion-MNIST (on the digits with --short or without
// that set), and ranks them. Weights are the published ones for CIFAR-100, not tuned. Writes compare_losses.json.
// Usage: compare_losses [--short] [--seeds N] [--out FOLDER]

#include <filesystem>
#include <retort.hpp>
#include <retort/io/json.hpp>
#include <retort/nn/zoo/resnet.hpp>

using namespace retort;
using namespace retort::loss;
namespace zoo = retort::nn::zoo;
using s1 = zoo::stage<1>;
using s2 = zoo::stage<2>;
using s3 = zoo::stage<3>;
using p1 = zoo::preact<1>;
using p2 = zoo::preact<2>;
using p3 = zoo::preact<3>;
using v = zoo::pooled;
const CrossEntropy<BatchMean> hard{};
const SoftTargets soft{.temperature = 4, .weight = 0.9};
template <class L>
auto with_labels(L loss) { return Joint<CrossEntropy<BatchMean>, L>(hard, loss); }

int main(int argc, char** argv) {
  bool brief = false;
  std::uint64_t seeds = 3;
  std::filesystem::path out = ".";
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--short") brief = true, seeds = 1;
    if (std::string(argv[i]) == "--seeds" && i + 1 < argc) seeds = std::stoull(argv[++i]);
    if (std::string(argv[i]) == "--out" && i + 1 < argc) out = argv[++i];
  }
  const std::filesystem::path folder = std::filesystem::path(RETORT_DATA_DIR) / "fashion-mnist";
  const auto [train, test] = [&] {
    if (!brief && std::filesystem::exists(folder)) {
      auto all = data::load_mnist(folder.string());
      all.train.name = "Fashion-MNIST";
      return TrainTest<4>{all.train.split(0.2, 1).train, std::move(all.test)};
    }
    const Dataset<2> digits = data::load_digits(RETORT_EXAMPLE_DATA);
    Dataset<4> images{Tensor<float, 4>(Shape<4>{digits.size(), 8, 8, 1}), digits.labels, 10, "digits"};
    std::copy(digits.inputs.begin(), digits.inputs.end(), images.inputs.begin());
    return images.split(0.5, 1);
  }();
  const std::vector<std::string> names{"labels alone", "KD", "reverse KL", "Jensen-Shannon", "skew KL", "total variation", "DKD", "NKD", "WSLD", "TTM", "WTTM",
      "LSKD", "DIST", "top 3, uniform tail", "MFT", "virtual teacher", "logit MSE", "CTKD", "FitNet", "AT", "FT", "SP", "CC", "VID", "RKD", "PKT", "AB", "NST",
      "AB + KD", "CKA", "SRRL", "ReviewKD", "CRD", "CRD + KD"};
  const OneOf losses(
      hard, HintonLoss{}, Sum{hard, ReverseKl<BatchMean, TSquared>{.temperature = 4}}, Sum{hard, JensenShannon<BatchMean, TSquared>{.temperature = 4}},
      Sum{hard, SkewForwardKl<BatchMean>{}}, Sum{hard, TotalVariation<BatchMean>{}}, with_labels(WarmUp{DecoupledKd<BatchMean>{}}),
      Sum{hard, NormalizedKd<BatchMean>{}}, Sum{hard, WeightedSoftLabels<BatchMean>{.weight = 2.25}}, Sum{hard, TransformedTeacherMatching<BatchMean>{.weight = 45}},
      Sum{hard, WeightedTransformedTeacherMatching<BatchMean>{.weight = 4}}, with_labels(Standardized{SoftTargets{.temperature = 2, .weight = 9}}), with_labels(Dist{}),
      with_labels(TopKForwardKl<UniformTail, BatchMean, TSquared>{.count = 3, .temperature = 4}), Sum{hard, MiniFineTuning<BatchMean, TSquared>{.temperature = 4}},
      Sum{hard, VirtualTeacher<BatchMean, TSquared>{.weight = 0.1}}, Sum{hard, LogitMse<ElementMean>{}}, with_labels(CurriculumTemperature{soft}),
      with_labels(OnTaps<Hint, s2, s2, connect::Regressor>{.weight = 100}), with_labels(OnEachTap<AttentionTransfer, connect::None, s1, s2, s3>{.weight = 1000}),
      with_labels(ParaphrasedFactors<s3>{.pretraining = brief ? 1 : 2}), with_labels(OnTaps<SimilarityPreserving, s3>{.weight = 3000}),
      with_labels(OnTaps<CorrelationCongruence, v, v, connect::Embedding, connect::Embedding>{.weight = 0.02}),
      with_labels(OnEachTap<Variational, connect::ThreePointwise, s1, s2, s3>{}),
      with_labels(Joint(OnTaps<RelationalDistance, v>{.weight = 25}, OnTaps<RelationalAngle, v>{.weight = 50})),
      with_labels(OnTaps<ProbabilisticTransfer, v>{.weight = 30000}), with_labels(OnEachTap<ActivationBoundary, connect::Pointwise<>, p1, p2, p3>{.decay = 0.5}),
      with_labels(OnEachTap<NeuronSelectivity, connect::None, s1, s2, s3>{.weight = 50}),
      Joint(HintonLoss{}, OnEachTap<ActivationBoundary, connect::Pointwise<>, p1, p2, p3>{.decay = 0.5}), with_labels(OnTaps<KernelAlignment, s3>{}),
      with_labels(RegressionRepresentation<s3, zoo::classifier>{}), with_labels(WarmUp<KnowledgeReview<p1, p2, p3, v>>{}), with_labels(Contrastive<v>{.negatives = 1024}),
      Joint(HintonLoss{}, Contrastive<v>{.negatives = 1024}));

  struct Row { std::string name; std::vector<double> accuracies; double milliseconds = 0; };
  std::vector<Row> rows(names.size());
  std::vector<double> teachers;
  const optim::Sgd optimizer{.lr = 0.05f, .momentum = 0.9f, .weight_decay = 5e-4f, .schedule = {.rule = optim::Cosine{}}, .clip = {.norm = 5}};
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const FitOptions options{.epochs = brief ? 2 : 6, .batch_size = 64, .seed = seed};
    Network<zoo::ResNet> teacher(zoo::resnet(8, {8, 16, 32, 64}, 10, 1), seed), start(zoo::resnet(8, {4, 4, 8, 16}, 10, 1), seed + 100);
    LabelsOnly<zoo::ResNet> supervised{teacher::None{}, teacher};
    const auto run = [&](auto& method) { return fit(method, train, optimizer, options, callbacks::Accuracy{test, "accuracy", options.epochs}); };
    teachers.push_back(100 * run(supervised).final_metric("accuracy"));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      rows[i].name = names[i];
      Network<zoo::ResNet> student = start.clone();
      Hinton<zoo::ResNet, zoo::ResNet>::with_loss<std::remove_const_t<decltype(losses)>> method{teacher, student, losses};
      method.loss_policy().chosen = i;
      const Report report = run(method);
      rows[i].accuracies.push_back(100 * report.final_metric("accuracy"));
      rows[i].milliseconds = 1e3 * report.epochs.back().seconds / std::ceil(static_cast<double>(train.size()) / 64);
      std::clog << "seed " << seed << ", " << rows[i].name << ": " << rows[i].accuracies.back() << " %\n";
    }
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return statistics::mean(a.accuracies) > statistics::mean(b.accuracies); });
  std::printf("%s, %lld images, teacher %.2f %%, %d seeds\n%-22s %9s %6s %9s\n", train.name.c_str(), static_cast<long long>(train.size()),
              statistics::mean(teachers), static_cast<int>(seeds), "loss", "accuracy", "+-", "ms/step");
  nlohmann::json results = nlohmann::json::array();
  for (const Row& r : rows) {
    const double spread = r.accuracies.size() > 1 ? statistics::standard_deviation(r.accuracies) : 0;
    std::printf("%-22s %9.2f %6.2f %9.2f\n", r.name.c_str(), statistics::mean(r.accuracies), spread, r.milliseconds);
    results.push_back({{"loss", r.name}, {"accuracies", r.accuracies}, {"milliseconds_per_step", r.milliseconds}});
  }
  std::ofstream(out / "compare_losses.json") << results.dump(2) << '\n';
  return statistics::mean(rows.front().accuracies) > 50 ? 0 : 1;  // chance is 10 %
}
