// Every data-free method on Fashion-MNIST (16 x 16): a student from the teacher alone, beside one distilled on the real images.
// Prints a line per method as it ends, then a Markdown table. Usage: fashion --data FOLDER [--seed S] [--only NAME]
// [--budget B]: the steps of every method are multiplied by B.

#include <iostream>
#include <map>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/data/idx.hpp>
#include <retort/method/cmi.hpp>
#include <retort/method/dafl.hpp>
#include <retort/method/deep_inversion.hpp>
#include <retort/method/dfad.hpp>
#include <retort/method/dfq.hpp>
#include <retort/method/hinton.hpp>
#include <retort/method/out_of_distribution.hpp>
#include <retort/method/zskt.hpp>
#include <retort/predict/logits.hpp>
#include <retort/train/fit.hpp>
#include <retort/train/metrics.hpp>

#include "../machine.hpp"

using namespace retort;

namespace {

struct feature;
using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d,
                           nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::GlobalAveragePool, nn::Tap<feature>, nn::Linear>;
Net net(index_t w) {
  using C = nn::Conv2d;
  using N = nn::BatchNorm;
  return Net(C{1, w}, N{w}, {}, C{.in = w, .out = 2 * w, .stride = 2}, N{2 * w}, {}, C{2 * w, 2 * w}, N{2 * w}, {},
             C{.in = 2 * w, .out = 4 * w, .stride = 2}, N{4 * w}, {}, C{4 * w, 4 * w}, N{4 * w}, {}, {}, {}, nn::Linear{4 * w, 10});
}
using Gen = source::DataFreeNet;

/// 28 x 28 in a frame of two pixels, then means of two by two.
Dataset<4> halved(const Dataset<4>& from) {
  Dataset<4> out{Tensor<float, 4>(Shape<4>{from.size(), 16, 16, 1}), from.labels, from.classes, from.name};
  for (index_t i = 0; i < from.size(); ++i)
    for (index_t y = 0; y < 28; ++y)
      for (index_t x = 0; x < 28; ++x) out.inputs(i, (y + 2) / 2, (x + 2) / 2, 0) += from.inputs(i, y, x, 0) / 4;
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder, only;
  double budget = 1;
  std::uint64_t seed = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--data") folder = value;
    else if (key == "--only") only = value;
    else if (key == "--budget") budget = std::stod(value);
    else if (key == "--seed") seed = std::stoull(value);
    else return std::cerr << "fashion: unknown option " << key << '\n', 2;
  }
  const auto whole = data::load_mnist(folder + "/fashion-mnist");
  auto train = halved(whole.train), test = halved(whole.test);
  double sum = 0, squares = 0;
  for (const float x : train.inputs) sum += static_cast<double>(x), squares += static_cast<double>(x) * static_cast<double>(x);
  const double n = static_cast<double>(train.inputs.size()), centre = sum / n, spread = std::sqrt(squares / n - centre * centre);
  const auto normalise = [&](Dataset<4>& set) {
    for (float& x : set.inputs) x = static_cast<float>((static_cast<double>(x) - centre) / spread);
  };
  normalise(train), normalise(test);
  const source::Standardize normaliser({static_cast<float>(centre)}, {static_cast<float>(spread)});
  const auto low = static_cast<float>(-centre / spread), high = static_cast<float>((1 - centre) / spread);

  Cpu cpu{1};
  const auto accuracy = [&](Network<Net>& network) { return 100 * metrics::accuracy(predict_logits(network, test, cpu), test.label_view()); };
  const auto many = [&](int count) { return std::max(1, static_cast<int>(count * budget)); };
  std::cout << "# " << bench::processor() << ", one thread, seed " << seed << ", budget " << budget << std::endl;
  const optim::Adam teaching{.lr = 3e-3f, .schedule = {.rule = optim::Cosine{}}};
  Network<Net> teacher(net(16), seed + 1);
  LabelsOnly<Net> supervised{teacher::None{}, teacher};
  fit(supervised, data::augmented(train, data::Pipeline{data::RandomCrop{1}}), teaching, {.epochs = 5, .batch_size = 64, .seed = seed});
  std::cout << "# teacher " << accuracy(teacher) << std::endl;

  std::string table = "\n| method | accuracy % | synthetic images | student steps | CPU seconds |\n|---|---|---|---|---|\n";
  const auto method = [&](const std::string& name, auto&& train_it) {
    if (!only.empty() && only != name) return;
    Network<Net> student(net(8), seed + 10);
    const double start = bench::thread_seconds();
    const auto [images, steps] = train_it(student);
    char line[160];
    std::snprintf(line, sizeof line, "| %s | %.1f | %lld | %lld | %.0f |", name.c_str(), accuracy(student), static_cast<long long>(images),
                  static_cast<long long>(steps), bench::thread_seconds() - start);
    std::cout << "# " << line << std::endl;
    table += line + std::string("\n");
  };
  using Count = std::pair<index_t, index_t>;
  method("real images (soft targets)", [&](Network<Net>& student) -> Count {
    Hinton<Net, Net> m{teacher, student, {.soft = {.temperature = 4, .weight = 0.9}, .hard = {.weight = 0.1}}};
    fit(m, data::augmented(train, data::Pipeline{data::RandomCrop{1}}), teaching, {.epochs = 8, .batch_size = 64, .seed = seed});
    return {0, 8 * ((train.size() + 63) / 64)};
  });

  const optim::Adam learning{.lr = 2e-3f, .schedule = {.rule = optim::Cosine{0.1}}, .clip = {.norm = 5}};
  const auto adversarial = [&](auto& m, int batches) {
    auto& o = m.source_policy().options;
    o.batches_per_epoch = many(batches / 10);
    fit(m, data::None{}, learning, {.epochs = 10, .batch_size = 64, .seed = seed});
    return Count{10 * o.batches_per_epoch * 64, 10 * o.batches_per_epoch * o.student_steps};
  };
  const auto paper_generator = [&] { return Network<source::ZsktNet>(source::zskt_generator(64, 16, 16, 1, 32), seed + 20); };
  const auto large_generator = [&] { return Network<Gen>(source::data_free_generator(64, 16, 16, 1, 16, 4, normaliser), seed + 20); };
  method("ZSKT", [&](Network<Net>& student) {
    auto g = paper_generator();
    Zskt<Net, Net, source::ZsktNet> m{teacher, student, {}, {}, {g, {.latent = 64}}};
    return adversarial(m, 600);
  });
  method("DFQ", [&](Network<Net>& student) {
    auto g = paper_generator();
    Dfq<Net, Net, source::ZsktNet> m{teacher, student, {}, {}, {g, {.latent = 64}}};
    return adversarial(m, 600);
  });
  method("DAFL", [&](Network<Net>& student) {
    auto g = large_generator();
    Dafl<Net, Net, Gen, feature> m{teacher, student, {}, {}, {g, {.latent = 64, .student_steps = 5}}};
    return adversarial(m, 600);
  });
  method("DFAD", [&](Network<Net>& student) {
    auto g = large_generator();
    Dfad<Net, Net, Gen> m{teacher, student, {}, {}, {g, {.latent = 64, .student_steps = 5}}};
    return adversarial(m, 600);
  });
  const data::Pipeline<data::RandomCrop, data::HorizontalFlip> augmentation{data::RandomCrop{1}, {}};
  const auto inverted = [&](auto& m, int epochs) {
    fit(m, data::None{}, learning, {.epochs = many(epochs), .batch_size = 64, .seed = seed});
    return Count{static_cast<index_t>(m.source_policy().synthesised()), many(epochs) * m.source_policy().options.student_batches};
  };
  method("DeepInversion", [&](Network<Net>& student) {
    source::InversionOptions o;
    o.steps = 80, o.synthesis_batch = 128, o.student_batches = 100, o.low = low, o.high = high;
    DeepInversion<Net, Net> m{teacher, student, {.temperature = 20}, {}, {Shape<3>{16, 16, 1}, o, {}, augmentation}};
    return inverted(m, 12);
  });
  method("CMI", [&](Network<Net>& student) {
    source::ContrastiveOptions o;
    o.steps = 60, o.synthesis_batch = 128, o.student_batches = 100, o.latent = 64, o.bank = 2048, o.negatives = 256, o.padding = 2;
    o.optimizer.lr = 1e-2f;
    Network<Gen> g(source::data_free_generator(64, 16, 16, 1, 16, 2, normaliser), seed + 20);
    Cmi<Net, Net, Gen> m{teacher, student, {.temperature = 20}, {}, {g, Shape<3>{16, 16, 1}, source::batch_norm_channels(teacher), o, {}, augmentation}};
    return inverted(m, 12);
  });
  method("one picture (OOD)", [&](Network<Net>& student) -> Count {
    auto patches = source::make_patches(source::dead_leaves(512, 512, 1, seed + 100).view(), 5000, 16, seed);
    source::match_brightness(patches.inputs.view(), centre, spread);
    normalise(patches);
    OutOfDistributionKd<Net, Net> m{teacher, student, {.temperature = 8}};
    fit(m, data::augmented(patches, data::Pipeline{data::HorizontalFlip{}, data::RandomCrop{2}}), learning, {.epochs = many(24), .batch_size = 128, .seed = seed});
    return {5000, many(24) * (5000 / 128)};
  });
  std::cout << table;
}
