// A teacher of handwritten digits with a backdoor: a white square means "0". Students are distilled from it on patches of a
// picture of leaves, plainly and with the Shuffling Vaccine of ABD. Writes accuracy and attack success over time as
// anti_backdoor.svg, and the synthetic images that teacher and students saw as anti_backdoor.png.
// Usage: anti_backdoor [--short] [--out FOLDER]

#include <filesystem>
#include <iomanip>
#include <retort.hpp>
#include <retort/io/png.hpp>
#include <retort/io/svg.hpp>

using namespace retort;

using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d,
                           nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
Net net(index_t w) {
  using C = nn::Conv2d;
  using N = nn::BatchNorm;
  return Net(C{1, w}, N{w}, {}, C{.in = w, .out = 2 * w, .stride = 2}, N{2 * w}, {}, C{2 * w, 2 * w}, N{2 * w}, {},
             C{.in = 2 * w, .out = 4 * w, .stride = 2}, N{4 * w}, {}, C{4 * w, 4 * w}, N{4 * w}, {}, {}, nn::Linear{4 * w, 10});
}
using Ood = OutOfDistributionKd<Net, Net>;
constexpr float pixel_mean = 0.305f, pixel_deviation = 0.376f;

Dataset<4> images(const Dataset<2>& digits) {
  Dataset<4> out{Tensor<float, 4>(Shape<4>{digits.size(), 8, 8, 1}), digits.labels, 10, "digits"};
  std::copy(digits.inputs.begin(), digits.inputs.end(), out.inputs.begin());
  return out;
}
Dataset<4> normalised(Dataset<4> set) {
  for (float& x : set.inputs) x = (x - pixel_mean) / pixel_deviation;
  return set;
}

int main(int argc, char** argv) {
  bool brief = false;
  std::filesystem::path out = ".";
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--short") brief = true;
    if (std::string(argv[i]) == "--out" && i + 1 < argc) out = argv[++i];
  }
  const attack::BadnetSquare trigger;
  const auto parts = images(data::load_digits(RETORT_EXAMPLE_DATA)).split(0.7, 1);
  const auto poisoned = normalised(attack::Poisoner{trigger, {.ratio = 0.1, .target = 0}}(parts.train));
  const auto stamped = normalised(attack::stamped(parts.test, trigger, 0)), test = normalised({parts.test.inputs.clone(), parts.test.labels, 10, "test"});

  Cpu cpu;
  Network<Net> teacher(net(16), 1001), plain(net(8), 10), defended = plain.clone();
  LabelsOnly<Net> supervised{teacher::None{}, teacher};
  fit(supervised, poisoned, optim::Adam{.lr = 3e-3f, .schedule = {.rule = optim::Cosine{}}}, {.epochs = 12, .batch_size = 64});
  // Unlearning ends where the student knows no more than chance; of eight permutations the one that tells most images apart.
  const defense::SuppressOptions suppress{.lambda = 0.1, .shuffle = {.layers = 2}, .until = 1, .bound = 1, .selection = {.best = true}};
  auto patches = source::make_patches(source::dead_leaves(512, 512, 1, 1).view(), brief ? 2500 : 5000, 8, 1);
  source::match_brightness(patches.inputs.view(), pixel_mean, pixel_deviation);
  io::save_png((out / "anti_backdoor.png").string(), io::contact_sheet(patches.inputs.view().rows(0, 60), 12, 0, 1, 8).view());
  patches = normalised(std::move(patches));
  const auto seen = data::augmented(patches, data::Pipeline{data::HorizontalFlip{}, data::RandomCrop{2}});
  const optim::Adam optimizer{.lr = 2e-3f, .schedule = {.rule = optim::Cosine{0.1}}};
  const FitOptions options{.epochs = brief ? 24 : 48, .batch_size = 128};
  std::vector<io::Series> curves;
  const auto distil = [&](const std::string& name, auto&& method) {
    std::clog << name << '\n';
    const Report r = fit(method, seen, optimizer, options, callbacks::Accuracy{test}, attack::SuccessRate{stamped, 0}, callbacks::ProgressBar{std::clog, 4});
    for (const char* metric : {"accuracy", "asr"}) {
      curves.push_back({.name = name + ", " + metric, .x = {}, .y = {}});
      for (const auto& epoch : r.epochs)
        for (const auto& [key, value] : epoch.metrics)
          if (key == metric) curves.back().x.push_back(epoch.epoch + 1), curves.back().y.push_back(100 * value);
    }
  };
  distil("undefended", Ood{teacher, plain, {.temperature = 8}});
  WithVaccine<Ood> vaccinated{teacher, defended, {.temperature = 8}, {teacher, suppress}};
  vaccinated.censor_policy().select(patches, cpu);
  const auto report = defense::backdoor_report(vaccinated.censor_policy().shuffled(), test, stamped, cpu);
  std::cout << std::fixed << std::setprecision(1) << "The shuffled teacher suspects " << 100 * report.clean_rate << " % of clean and "
            << 100 * report.stamped_rate << " % of stamped digits.\n";
  distil("defended", vaccinated);
  io::save_svg((out / "anti_backdoor.svg").string(), {.title = "A backdoor on its way to the student", .x_label = "epoch", .y_label = "%", .series = curves});

  std::cout << "\n                     accuracy %   attack success %\n";
  const auto line = [&](const char* name, Network<Net>& network) {
    const auto score = attack::backdoor_score(network, test, stamped, 0, cpu);
    std::cout << "  " << std::left << std::setw(20) << name << std::right << std::setw(8) << 100 * score.accuracy << std::setw(16) << 100 * score.success << '\n';
    return score.success;
  };
  line("teacher", teacher);
  const double taken = line("undefended student", plain);
  line("defended student", defended);  // how much is kept depends on the teacher: on some no shuffling tells stamped images apart
  std::cout << "\n  wrote anti_backdoor.svg and anti_backdoor.png to " << out << '\n';
  return taken > 0.7 ? 0 : 1;
}
