// The CPU-scale experiment on ABD (Hong et al. 2023): a backdoored teacher, data-free students with and without the
// defences. Grey 16 x 16 images of MNIST or Fashion-MNIST. Prints one line per arm as it ends, then a Markdown table.
// Usage: abd --data FOLDER [--set mnist|fashion-mnist] [--trigger grid|blend] [--seeds N] [--first-seed S] [--arms abcdefgh]
//            [--ood-epochs N] [--zskt-batches N] [--tested-batches N] [--width W]

#include <cstring>
#include <iostream>
#include <map>
#include <retort/attack/poisoner.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/data/idx.hpp>
#include <retort/defense/with_abd.hpp>
#include <retort/method/hinton.hpp>
#include <retort/method/out_of_distribution.hpp>
#include <retort/method/zskt.hpp>
#include <retort/train/statistics.hpp>

#include "../machine.hpp"

using namespace retort;

namespace {

/// Five convolutions; the last stage (two of them) is what the vaccine shuffles.
using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d,
                           nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
Net net(index_t w) {
  using C = nn::Conv2d;
  using N = nn::BatchNorm;
  return Net(C{1, w}, N{w}, {}, C{.in = w, .out = 2 * w, .stride = 2}, N{2 * w}, {}, C{2 * w, 2 * w}, N{2 * w}, {},
             C{.in = 2 * w, .out = 4 * w, .stride = 2}, N{4 * w}, {}, C{4 * w, 4 * w}, N{4 * w}, {}, {}, nn::Linear{4 * w, 10});
}
using Generator = source::ZsktNet;
using Zero = Zskt<Net, Net, Generator>;
using Ood = OutOfDistributionKd<Net, Net>;

/// 28 x 28 in a frame of two pixels, then means of two by two: 16 x 16.
Dataset<4> halved(const Dataset<4>& from) {
  Dataset<4> out{Tensor<float, 4>(Shape<4>{from.size(), 16, 16, 1}), from.labels, from.classes, from.name};
  for (index_t i = 0; i < from.size(); ++i)
    for (index_t y = 0; y < 28; ++y)
      for (index_t x = 0; x < 28; ++x) out.inputs(i, (y + 2) / 2, (x + 2) / 2, 0) += from.inputs(i, y, x, 0) / 4;
  return out;
}

struct Options {
  std::string data, set = "mnist", trigger = "grid", arms = "abcdefgh";
  int seeds = 1, first_seed = 0, ood_epochs = 20, patches = 20000, zskt_batches = 2000, tested_batches = 50;
  index_t width = 16;
};

template <attack::Trigger A>
struct Experiment {
  Options o;
  A trigger;
  float mean = 0, deviation = 1;  ///< of the training pixels, as every defender has them
  Cpu cpu{1};
  std::map<std::string, std::vector<double>> accuracy, success, seconds;
  std::vector<std::string> order;

  template <class F>
  void arm(const std::string& name, const Dataset<4>& test, const Dataset<4>& stamped, Network<Net>& network, F&& train) {
    if (name[0] == '(' && o.arms.find(name[1]) == std::string::npos) return;
    const double start = bench::thread_seconds();
    const std::string note = train();
    const auto score = attack::backdoor_score(network, test, stamped, 0, cpu);
    if (!accuracy.count(name)) order.push_back(name);
    accuracy[name].push_back(100 * score.accuracy);
    success[name].push_back(100 * score.success);
    seconds[name].push_back(bench::thread_seconds() - start);
    std::cout << "# " << name << ": ACC " << accuracy[name].back() << ", ASR " << success[name].back() << ", " << seconds[name].back() << " s"
              << (note.empty() ? "" : "; ") << note << std::endl;
  }

  static Dataset<4> copy(const Dataset<4>& set) { return {set.inputs.clone(), set.labels, set.classes, set.name}; }
  void normalise(Dataset<4>& set) const {
    for (float& x : set.inputs) x = (x - mean) / deviation;
  }
  void run(const Dataset<4>& raw, const Dataset<4>& raw_test, std::uint64_t seed) {
    // Triggers are stamped on raw pixels; the networks see normalised ones.
    auto attacked = attack::stamped(raw_test, trigger, 0), poisoned = attack::Poisoner{trigger, {.ratio = 0.1, .target = 0}}(raw);
    auto train = copy(raw), test = copy(raw_test);
    for (auto* set : {&attacked, &poisoned, &train, &test}) normalise(*set);
    const optim::Adam teaching{.lr = 3e-3f, .schedule = {.rule = optim::Cosine{}}};
    const auto crop = data::Pipeline{data::RandomCrop{1}};
    Network<Net> teacher(net(o.width), seed + 1), honest(net(o.width), seed + 1);
    const auto supervised = [&](Network<Net>& network, const Dataset<4>& set) {
      return [&, set = &set]() -> std::string {
        LabelsOnly<Net> method{teacher::None{}, network};
        fit(method, data::augmented(*set, crop), teaching, {.epochs = 12, .batch_size = 64, .seed = seed});
        return "";
      };
    };
    arm("teacher, unpoisoned", test, attacked, honest, supervised(honest, train));
    arm("teacher", test, attacked, teacher, supervised(teacher, poisoned));
    {
      const auto [part, rest] = train.split(0.2, seed);
      Network<Net> student(net(o.width / 2), seed + 10);
      arm("(a) clean-data KD", test, attacked, student, [&, part = &part]() -> std::string {
        Hinton<Net, Net> method{teacher, student, {.soft = {.temperature = 6, .weight = 0.95}, .hard = {.weight = 0.05}}};
        fit(method, data::augmented(*part, crop), teaching, {.epochs = 40, .batch_size = 64, .seed = seed});
        return "";
      });
    }
    const defense::RetrospectionOptions search{.search_steps = 10};
    const teacher::ShuffleOptions last_stage{.clones = 3, .layers = 2};
    {
      teacher::Shuffled<Net> shuffled(teacher, last_stage, Rng(seed).fork(1));
      std::cout << "# mask rate: clean " << defense::mask_rate(shuffled, test, cpu) << ", stamped " << defense::mask_rate(shuffled, attacked, cpu) << std::endl;
    }
    if (o.arms.find_first_of("bcd") != std::string::npos) {
      const auto photo = source::dead_leaves(512, 512, 1, seed + 100);
      auto patches = source::make_patches(photo.view(), o.patches, 16, seed);
      for (float& x : patches.inputs) x = std::clamp(2.2f * (x - 0.55f), 0.f, 1.f);  // dark, as the digits are: else the teacher sees one class
      normalise(patches);
      const auto seen = data::augmented(patches, data::Pipeline{data::HorizontalFlip{}, data::RandomCrop{2}});
      const optim::Adam first{.lr = 2e-3f, .schedule = {.rule = optim::Cosine{0.1}}}, late{.lr = 5e-4f, .schedule = {.rule = optim::Cosine{}}};
      const FitOptions options{.epochs = o.ood_epochs, .batch_size = 128, .seed = seed};
      const auto start = [&] { return Network<Net>(net(o.width / 2), seed + 10); };
      const loss::KlMean soft{.temperature = 8};
      auto b = start(), c = start(), d = start();
      arm("(b) OOD", test, attacked, b, [&]() -> std::string {
        Ood method{teacher, b, soft};
        fit(method, seen, first, options);
        return "";
      });
      const defense::SuppressOptions suppress{.shuffle = last_stage, .until = 2, .seed = seed};
      arm("(c) OOD + SV", test, attacked, c, [&]() -> std::string {
        WithVaccine<Ood> method{teacher, c, soft, {teacher, suppress}};
        fit(method, seen, first, options);
        return "mask rate " + std::to_string(method.censor_policy().last_mask_rate());
      });
      arm("(d) OOD + SV + SR", test, attacked, d, [&]() -> std::string {
        WithAbd<Ood, loss::KlBatch> method{teacher, {d, teacher, {.search_steps = 10, .detach_clean = false}, {.temperature = 8}}, soft, {teacher, suppress}};
        method.student_policy().options.start = 2;
        fit(method, seen, first, options);
        method.student_policy().options.start = method.censor_policy().options.until = 0;
        std::vector<index_t> few(static_cast<std::size_t>(128 * std::max<index_t>(10, o.ood_epochs * patches.size() / 128 * 15 / 1000)));  // 1.5 % of the steps
        for (std::size_t i = 0; i < few.size(); ++i) few[i] = static_cast<index_t>(i) % patches.size();
        const auto last = patches.subset(few);
        auto rest = options;
        rest.epochs = 1;
        rest.seed = seed + 7;
        fit(method, data::augmented(last, data::Pipeline{data::HorizontalFlip{}, data::RandomCrop{2}}), late, rest);
        return "delta norm " + std::to_string(method.student_policy().perturbation_norm());
      });
    }
    {
      const source::GeneratorOptions schedule{.latent = 64, .batches_per_epoch = o.zskt_batches / 10, .student_steps = 10};
      const optim::Adam first{.lr = 2e-3f, .schedule = {.rule = optim::Cosine{0.1}}, .clip = {.norm = 5}},
          late{.lr = 5e-4f, .schedule = {.rule = optim::Cosine{}}};
      const FitOptions options{.epochs = 10, .batch_size = 64, .seed = seed};
      const auto start = [&] { return Network<Net>(net(o.width / 2), seed + 10); };
      const auto maker = [&] { return Network<Generator>(source::zskt_generator(64, 16, 16, 1, 32), seed + 20); };
      auto with_late_steps = schedule;
      with_late_steps.batches_per_epoch = std::max(10, o.zskt_batches / 100);  // the last per cent of the run
      auto e = start(), f = start(), g = start(), h = start();
      auto ge = maker(), gf = maker(), gg = maker(), gh = maker();
      arm("(e) ZSKT", test, attacked, e, [&]() -> std::string {
        Zero method{teacher, e, {}, {}, {ge, schedule}};
        fit(method, data::None{}, first, options);
        return "";
      });
      const auto vaccine = [&](double until) { return defense::VaccineOptions{.shuffle = last_stage, .until = until, .pseudo_test_batches = o.tested_batches}; };
      const auto verdict = [](const defense::VaccineOutcome& out) {
        const char* names[] = {"collecting", "untested", "accepted", "rejected"};
        return std::string("vaccine ") + names[static_cast<int>(out.verdict)] + " after " + std::to_string(out.trials) + " trials, tail " +
               std::to_string(out.tail) + ", mask rate " + std::to_string(out.mask_rate);
      };
      arm("(f) ZSKT + SV", test, attacked, f, [&]() -> std::string {
        WithVaccine<Zero> method{teacher, f, {}, {}, {{gf, schedule}, teacher, vaccine(2)}};
        fit(method, data::None{}, first, options);
        return verdict(method.source_policy().outcome());
      });
      const auto retrospect = [&](auto& method, auto& generator_options) {  // what fit_in_phases does, with fewer batches late
        method.student_policy().options.start = 2;
        fit(method, data::None{}, first, options);
        method.student_policy().options.start = 0;
        generator_options = with_late_steps;
        auto rest = options;
        rest.epochs = 1;
        rest.seed = seed + 7;
        fit(method, data::None{}, late, rest);
        return "delta norm " + std::to_string(method.student_policy().perturbation_norm());
      };
      arm("(g) ZSKT + SR", test, attacked, g, [&]() -> std::string {
        WithRetrospection<Zero> method{teacher, {g, teacher, search}, {}, {}, {gg, schedule}};
        return retrospect(method, method.source_policy().options);
      });
      arm("(h) ZSKT + SV + SR", test, attacked, h, [&]() -> std::string {
        WithAbd<Zero> method{teacher, {h, teacher, search}, {}, {}, {{gh, schedule}, teacher, vaccine(1)}};
        method.student_policy().options.start = 2;
        fit(method, data::None{}, first, options);
        const std::string found = verdict(method.source_policy().outcome());
        method.student_policy().options.start = 0;
        method.source_policy().options.until = 0;
        method.source_policy().inner().options = with_late_steps;
        auto rest = options;
        rest.epochs = 1;
        rest.seed = seed + 7;
        fit(method, data::None{}, late, rest);
        return found + ", delta norm " + std::to_string(method.student_policy().perturbation_norm());
      });
    }
  }

  void table() const {
    std::cout << "\n| arm | ACC % | ASR % | CPU seconds |\n|---|---|---|---|\n" << std::fixed;
    std::cout.precision(1);
    const auto cell = [](const std::vector<double>& v) {
      char text[64];
      std::snprintf(text, sizeof text, v.size() > 1 ? "%.1f +- %.1f" : "%.1f", statistics::mean(v), v.size() > 1 ? statistics::standard_deviation(v) : 0.0);
      return std::string(text);
    };
    for (const auto& name : order)
      std::cout << "| " << name << " | " << cell(accuracy.at(name)) << " | " << cell(success.at(name)) << " | " << statistics::mean(seconds.at(name)) << " |\n";
  }
};

}  // namespace

int main(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (key == "--data") o.data = value;
    else if (key == "--set") o.set = value;
    else if (key == "--trigger") o.trigger = value;
    else if (key == "--arms") o.arms = value;
    else if (key == "--patches") o.patches = std::stoi(value);
    else if (key == "--seeds") o.seeds = std::stoi(value);
    else if (key == "--first-seed") o.first_seed = std::stoi(value);
    else if (key == "--ood-epochs") o.ood_epochs = std::stoi(value);
    else if (key == "--zskt-batches") o.zskt_batches = std::stoi(value);
    else if (key == "--tested-batches") o.tested_batches = std::stoi(value);
    else if (key == "--width") o.width = std::stoi(value);
    else return std::cerr << "abd: unknown option " << key << '\n', 2;
  }
  const auto whole = data::load_mnist(o.data + "/" + o.set);
  const auto train = halved(whole.train), test = halved(whole.test);
  std::cout << "# " << o.set << ", trigger " << o.trigger << ", " << bench::processor() << ", one thread, seeds " << o.first_seed << " to "
            << o.first_seed + o.seeds - 1 << std::endl;
  const auto go = [&](auto trigger) {
    double sum = 0, squares = 0;
    for (const float x : train.inputs) sum += x, squares += static_cast<double>(x) * x;
    const double n = static_cast<double>(train.inputs.size()), mean = sum / n;
    Experiment<decltype(trigger)> experiment{.o = o, .trigger = trigger, .mean = static_cast<float>(mean),
                                             .deviation = static_cast<float>(std::sqrt(squares / n - mean * mean)), .accuracy = {}, .success = {}, .seconds = {}, .order = {}};
    for (int s = 0; s < o.seeds; ++s) experiment.run(train, test, static_cast<std::uint64_t>(1000 * (o.first_seed + s)));
    experiment.table();
  };
  if (o.trigger == "grid") return go(attack::BadnetGrid{}), 0;
  const auto pattern = [] {
    auto p = source::dead_leaves(16, 16, 1, 5);
    for (float& x : p) x *= 255;
    return p;
  }();
  attack::Blend blend;
  blend.pattern = pattern.view();
  go(blend);
}
