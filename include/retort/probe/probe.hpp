#pragma once
// What is in an embedding: small classifiers trained on frozen vectors, by the same `fit` as everything else.

#include <retort/loss/binary_cross_entropy.hpp>
#include <retort/loss/regression.hpp>
#include <retort/method/hinton.hpp>
#include <retort/nn/auto_pool.hpp>
#include <retort/nn/zoo/mlp.hpp>
#include <retort/predict/logits.hpp>
#include <retort/projection/projection.hpp>
#include <retort/teacher/targets.hpp>
#include <retort/train/average_precision.hpp>
#include <retort/train/fit.hpp>

namespace retort::probe {

/// How a probe is trained: Adam on the loss plus l2 * ||W||^2 over weight matrices (not biases).
struct Options {
  int epochs = 150;
  index_t batch_size = 32;
  float lr = 1e-2f, l2 = 1e-3f;
  std::uint64_t seed = 0;
  int threads = 1;
};

/// All in [0, 1].
struct Scores {
  double accuracy = 0;
  metrics::AveragePrecision average_precision{};
};

namespace detail {
inline optim::Adam optimizer(const Options& o) { return {.lr = o.lr, .weight_decay = 2 * o.l2}; }
inline FitOptions fit_options(const Options& o) {
  return {.epochs = o.epochs, .batch_size = o.batch_size, .seed = Rng(o.seed).fork(1).at(0), .threads = o.threads};
}
}  // namespace detail

/// Trains `architecture` (N x n to N x classes) on vectors with class labels and scores it on others. `Scaler`, a projection
/// policy fitted to the training vectors, is applied to both: projection::Standardize by default; StandardizeGlobally where
/// the vectors are an unwhitened PCA's, whose trailing components the former would blow up.
template <class Scaler = projection::Standardize, class Architecture>
Scores classify(const Architecture& architecture, const Dataset<2>& train, const Dataset<2>& test, const Options& options = {}) {
  const projection::Affine scaler = Scaler{}.fit(projection::moments_of(train.inputs.view()));
  const auto scaled = [&](const Dataset<2>& set) { return Dataset<2>{scaler.transform(set.inputs.view()), set.labels, set.classes, set.name}; };
  const Dataset<2> known = scaled(train), unknown = scaled(test);
  Network<Architecture> network(architecture, options.seed);
  network.decay_matrices_only();
  LabelsOnly<Architecture> method{teacher::None{}, network};
  fit(method, known, detail::optimizer(options), detail::fit_options(options));
  Cpu cpu(options.threads);
  const auto logits = predict_logits(network, unknown, cpu);
  return {metrics::accuracy(logits, unknown.label_view()), metrics::average_precision(logits, unknown.label_view())};
}
/// Softmax regression.
template <class Scaler = projection::Standardize>
Scores linear(const Dataset<2>& train, const Dataset<2>& test, const Options& options = {}) {
  return classify<Scaler>(nn::zoo::mlp({train.inputs.extent(1), train.classes}), train, test, options);
}
/// With hidden layers of ReLUs.
template <class Scaler = projection::Standardize>
Scores mlp(std::vector<index_t> hidden, const Dataset<2>& train, const Dataset<2>& test, const Options& options = {}) {
  hidden.insert(hidden.begin(), train.inputs.extent(1));
  hidden.push_back(train.classes);
  return classify<Scaler>(nn::zoo::mlp(std::span<const index_t>(hidden)), train, test, options);
}

/// Clips of frames with marks of any number of classes: N x T x n and N x C of 0 or 1.
struct Clips {
  Tensor<float, 3> frames;
  Tensor<float, 2> marks;
};
/// A multi-label probe: per frame an MLP and a sigmoid for each class, AutoPool over the frames, binary cross-entropy.
/// `alpha`: AutoPool's at first. Returns the average precision over the test clips.
template <class Scaler = projection::Standardize>
metrics::AveragePrecision clips(std::vector<index_t> hidden, const Clips& train, const Clips& test, double alpha = 1, const Options& options = {}) {
  const index_t width = train.frames.extent(2), classes = train.marks.extent(1);
  require<shape_error>(test.frames.extent(2) == width && test.marks.extent(1) == classes && train.frames.extent(0) == train.marks.extent(0) &&
                           test.frames.extent(0) == test.marks.extent(0),
                       "probe::clips: frames ", to_string(train.frames.shape()), " and ", to_string(test.frames.shape()), " with marks ",
                       to_string(train.marks.shape()), " and ", to_string(test.marks.shape()));
  const auto rows = [&](const Clips& c) { return View<const float, 2>{c.frames.data(), {c.frames.extent(0) * c.frames.extent(1), width}}; };
  const projection::Affine scaler = Scaler{}.fit(projection::moments_of(rows(train)));
  const auto scaled = [&](const Clips& c) {
    const Tensor<float, 2> flat = scaler.transform(rows(c));
    Dataset<3> out{Tensor<float, 3>(c.frames.shape()), {}, 0, "clips"};
    std::copy(flat.begin(), flat.end(), out.inputs.begin());
    return out;
  };
  using Frame = nn::Sequential<nn::zoo::Mlp, nn::Sigmoid>;
  using Net = nn::Sequential<nn::PerFrame<Frame>, nn::AutoPool>;
  hidden.insert(hidden.begin(), width);
  hidden.push_back(classes);
  Network<Net> network(Net(nn::PerFrame<Frame>{Frame(nn::zoo::mlp(std::span<const index_t>(hidden)), nn::Sigmoid{})}, nn::AutoPool{classes, alpha}), options.seed);
  network.decay_matrices_only();
  Tensor<float, 2> marks(train.marks.shape());
  std::copy(train.marks.begin(), train.marks.end(), marks.begin());
  Distiller<teacher::Targets, student::Trainable<Net>, loss::Regression<loss::BinaryCrossEntropy>> method{teacher::Targets(std::move(marks)), network};
  fit(method, scaled(train), detail::optimizer(options), detail::fit_options(options));
  Cpu cpu(options.threads);
  const auto answers = predict_logits(network, scaled(test), cpu);
  const std::vector<double> scores(answers.begin(), answers.end());
  std::vector<std::uint8_t> relevant;
  for (const float m : test.marks) relevant.push_back(m > 0.5f);
  return metrics::average_precision(View<const double, 2>{scores.data(), answers.shape()}, View<const std::uint8_t, 2>{relevant.data(), answers.shape()});
}

}  // namespace retort::probe
