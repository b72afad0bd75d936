// Distils without data: students learn real handwritten digits from a teacher alone, by zero-shot transfer (a generator
// against the student) and from patches of one picture of overlapping leaves. Writes data_free.json and data_free.svg.
// Usage: data_free [--short] [--out FOLDER]

#include <filesystem>
#include <iomanip>
#include <retort.hpp>
#include <retort/io/json.hpp>
#include <retort/io/svg.hpp>

using namespace retort;

using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::MaxPool, nn::Conv2d, nn::BatchNorm, nn::Relu,
                           nn::GlobalAveragePool, nn::Linear>;
Net net(index_t w) {
  return Net(nn::Conv2d{1, w}, nn::BatchNorm{w}, {}, nn::Conv2d{w, 2 * w}, nn::BatchNorm{2 * w}, {}, nn::MaxPool{2}, nn::Conv2d{2 * w, 4 * w},
             nn::BatchNorm{4 * w}, {}, {}, nn::Linear{4 * w, 10});
}

/// The digits as normalised images, 8 x 8: pixels of mean 0 and deviation 1, which is where ZSKT's generator starts.
Dataset<4> images(const Dataset<2>& digits) {
  Dataset<4> out{Tensor<float, 4>(Shape<4>{digits.size(), 8, 8, 1}), digits.labels, 10, "digits"};
  std::transform(digits.inputs.begin(), digits.inputs.end(), out.inputs.begin(), [](float x) { return (x - 0.305f) / 0.376f; });
  return out;
}

int main(int argc, char** argv) {
  bool brief = false;
  std::filesystem::path out = ".";
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--short") brief = true;
    if (std::string(argv[i]) == "--out" && i + 1 < argc) out = argv[++i];
  }
  const int seeds = brief ? 1 : 3;
  const auto [train, test] = images(data::load_digits(RETORT_EXAMPLE_DATA)).split(0.7, 1);
  const optim::Adam optimizer{.lr = 2e-3f, .schedule = {.rule = optim::Cosine{0.02}}, .clip = {.norm = 5}};

  std::map<std::string, std::vector<double>> scores;
  nlohmann::json runs = nlohmann::json::array();
  for (int seed = 0; seed < seeds; ++seed) {
    const auto s = static_cast<std::uint64_t>(seed);
    const auto run = [&](const char* name, auto& method, const auto& data, const FitOptions& options) {
      std::clog << name << ", seed " << seed << '\n';
      const Report report = fit(method, data, optimizer, options, callbacks::Accuracy{test, "accuracy", options.epochs}, callbacks::ProgressBar{std::clog, 2});
      scores[name].push_back(100 * report.final_metric("accuracy"));
      runs.push_back({{"arm", name}, {"accuracy", scores[name].back()}, {"report", report}});
    };
    Network<Net> teacher(net(16), s), start(net(8), s + 100);
    LabelsOnly<Net> supervised{teacher::None{}, teacher};
    run("teacher", supervised, train, {.epochs = 20, .batch_size = 32, .seed = s});

    Network<Net> real = start.clone();  // the student that sees data: what there is to reach
    Hinton<Net, Net> with_data{teacher, real};
    run("student, real data", with_data, train, {.epochs = 20, .batch_size = 32, .seed = s});

    Network<Net> zero = start.clone();
    Network<source::ZsktNet> generator(source::zskt_generator(32, 8, 8, 1, 32), s + 200);
    Zskt<Net, Net, source::ZsktNet> zskt{teacher, zero, {}, {}, {generator, {.latent = 32, .batches_per_epoch = 60}}};
    run("ZSKT, no data", zskt, data::None{}, {.epochs = brief ? 4 : 20, .batch_size = 64, .seed = s});

    auto patches = source::make_patches(source::dead_leaves(512, 512, 1, s).view(), brief ? 4000 : 20000, 8, s);
    // As dark as the digits are, in the same normalisation: on brighter pictures the teacher sees hardly more than one class.
    for (float& x : patches.inputs) x = (std::clamp(2.2f * (x - 0.55f), 0.f, 1.f) - 0.305f) / 0.376f;
    Network<Net> one_image = start.clone();
    OutOfDistributionKd<Net, Net> ood{teacher, one_image, {.temperature = 8}};
    run("one picture, no data", ood, data::augmented(patches, data::Pipeline{data::HorizontalFlip{}, data::RandomCrop{1}}),
        {.epochs = 20, .batch_size = 64, .seed = s});
  }

  std::cout << "\nAccuracy on held-out digits, mean over " << seeds << " seed(s)\n\n" << std::fixed << std::setprecision(1);
  io::Series points{.name = "mean", .x = {}, .y = {}, .line = false};
  std::vector<std::string> names{"teacher", "student, real data", "ZSKT, no data", "one picture, no data"};
  for (const auto& name : names) {
    const double mean = statistics::mean(scores[name]);
    std::cout << "  " << std::left << std::setw(22) << name << std::right << std::setw(6) << mean << " %\n";
    points.x.push_back(static_cast<double>(points.x.size()));
    points.y.push_back(mean);
  }
  io::save_json((out / "data_free.json").string(), {{"seeds", seeds}, {"runs", runs}});
  io::save_svg((out / "data_free.svg").string(), {.title = "Digits without data", .y_label = "held-out accuracy, %", .series = {points}, .categories = names});
  std::cout << "\n  wrote " << (out / "data_free.json").string() << " and " << (out / "data_free.svg").string() << '\n';
  // Chance is 10 %.
  return statistics::mean(scores["ZSKT, no data"]) > 70 && statistics::mean(scores["one picture, no data"]) > 35 ? 0 : 1;
}
