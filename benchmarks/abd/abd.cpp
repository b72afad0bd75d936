// The CPU-scale experiment on ABD (Hong et al. 2023): a backdoored teacher, data-free students with and without the
// defences, and controls. Prints a line per arm as it ends, then a Markdown table of means and deviations over the seeds.
// Usage: abd --data FOLDER [--set digits|mnist|fashion-mnist|cifar10] [--trigger grid|square|blend] [--source zskt|dfq] [--seeds N]
//            [--first-seed S] [--arms LETTERS] [--validate 1] and the numbers in Options.
// Arms: a clean-data KD; b out-of-distribution images (OOD), c +SV, d +SV+SR; e generator, f +SV as a censor of its batches, g +SR, h +SV+SR;
// n e with SV as a term of its images alone, o c with unbounded unlearning, both as published;
// controls i OOD with a random mask of c's rate, j OOD with shuffled first layers, k OOD with the sign of lambda turned, l d with random
// perturbations of the same norm; m side check: b and d on an unpoisoned teacher.

#include <cstring>
#include <iostream>
#include <map>
#include <retort/attack/poisoner.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/data/cifar.hpp>
#include <retort/data/digits.hpp>
#include <retort/data/idx.hpp>
#include <retort/defense/with_abd.hpp>
#include <retort/method/dfq.hpp>
#include <retort/method/hinton.hpp>
#include <retort/method/out_of_distribution.hpp>
#include <retort/method/zskt.hpp>
#include <retort/train/statistics.hpp>

#include "../machine.hpp"

using namespace retort;

namespace {

/// Five convolutions; the last one is what the vaccine shuffles by default.
using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d,
                           nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
Net net(index_t channels, index_t w) {
  using C = nn::Conv2d;
  using N = nn::BatchNorm;
  return Net(C{channels, w}, N{w}, {}, C{.in = w, .out = 2 * w, .stride = 2}, N{2 * w}, {}, C{2 * w, 2 * w}, N{2 * w}, {},
             C{.in = 2 * w, .out = 4 * w, .stride = 2}, N{4 * w}, {}, C{4 * w, 4 * w}, N{4 * w}, {}, {}, nn::Linear{4 * w, 10});
}
using Ood = OutOfDistributionKd<Net, Net>;

struct Options {
  std::string data, set = "mnist", trigger = "grid", source = "zskt", arms = "abcdefghijklmno";
  int seeds = 3, first_seed = 0, validate = 0;
  int ood_epochs = 48, patches = 5000;           ///< a late epoch is 1 of these
  int batches = 2000, late = 1;                  ///< pseudo-batches of the generator; per cent of them once more for SR
  int search_steps = 10;                         ///< of SR's perturbation
  int tested_batches = 50, layers = 2, width = 16, maker = 32, teacher_epochs = 12;
  double norm = 10;                              ///< of the random perturbation where arm d is not run
  double lambda = 0.1, bound = 1, late_rate = 5e-4;
};

/// Of 28 x 28 and 32 x 32, the smaller with a frame of two pixels, means of two by two: 16 x 16.
Dataset<4> halved(const Dataset<4>& from) {
  const index_t frame = (32 - from.inputs.extent(1)) / 2, channels = from.inputs.extent(3);
  Dataset<4> out{Tensor<float, 4>(Shape<4>{from.size(), 16, 16, channels}), from.labels, from.classes, from.name};
  for (index_t i = 0; i < from.size(); ++i)
    for (index_t y = 0; y < from.inputs.extent(1); ++y)
      for (index_t x = 0; x < from.inputs.extent(2); ++x)
        for (index_t c = 0; c < channels; ++c) out.inputs(i, (y + frame) / 2, (x + frame) / 2, c) += from.inputs(i, y, x, c) / 4;
  return out;
}

/// Control: signed weights as SoftSuppress gives them, on rows drawn by lot.
struct RandomSuppress {
  using role = retort::role::censor;
  double rate = 0.1, lambda = 0.1;
  template <class E>
  void apply(E& ex) const {
    if (ex.turn != Block::student) return;
    Rng rng = ex.rng.fork(0x6c6f74);
    const index_t n = ex.input.extent(0);
    const View<std::uint8_t, 1> mask{ex.tape.template allocate_raw<std::uint8_t>(n), {n}};
    for (auto& m : mask) m = rng.uniform_double() < rate;
    const auto weights = ex.tape.allocate(Shape<1>{n});
    defense::SoftSuppress<Net>::suppress(View<const std::uint8_t, 1>(mask), lambda, weights);
    ex.weights = weights;
  }
  std::string describe() const { return "random suppression"; }
};

template <attack::Trigger A>
struct Experiment {
  Options o;
  A trigger;
  index_t channels = 1, size = 16;  ///< of the images
  double mean = 0, deviation = 1;  ///< of the training pixels, as every defender has them
  Cpu cpu{1};
  std::map<std::string, std::vector<double>> accuracy, success, seconds;
  std::vector<std::string> order;
  Dataset<4> seen_test, seen_attacked;  ///< normalised

  bool wanted(char letter) const { return o.arms.find(letter) != std::string::npos; }
  static Dataset<4> copy(const Dataset<4>& set) { return {set.inputs.clone(), set.labels, set.classes, set.name}; }
  void normalise(Dataset<4>& set) const {
    for (float& x : set.inputs) x = static_cast<float>((static_cast<double>(x) - mean) / deviation);
  }

  void run(const Dataset<4>& raw, const Dataset<4>& raw_test, std::uint64_t seed) {
    // Triggers are stamped on raw pixels; the networks see normalised ones.
    auto attacked = attack::stamped(raw_test, trigger, 0), poisoned = attack::Poisoner{trigger, {.ratio = 0.1, .target = 0}}(raw);
    auto train = copy(raw), test = copy(raw_test);
    for (auto* set : {&attacked, &poisoned, &train, &test}) normalise(*set);
    seen_test = copy(test), seen_attacked = copy(attacked);
    const auto arm = [&](const std::string& name, Network<Net>& network, auto&& train_it) {
      const double start = bench::thread_seconds();
      const std::string note = train_it();
      const auto score = attack::backdoor_score(network, test, attacked, 0, cpu);
      if (!accuracy.count(name)) order.push_back(name);
      accuracy[name].push_back(100 * score.accuracy);
      success[name].push_back(100 * score.success);
      seconds[name].push_back(bench::thread_seconds() - start);
      std::cout << "# seed " << seed / 1000 << ", " << name << ": ACC " << accuracy[name].back() << ", ASR " << success[name].back() << ", "
                << seconds[name].back() << " s" << (note.empty() ? "" : "; ") << note << std::endl;
    };
    const optim::Adam teaching{.lr = 3e-3f, .schedule = {.rule = optim::Cosine{}}};
    const auto crop = data::Pipeline{data::RandomCrop{1}};
    const auto start = [&] { return Network<Net>(net(channels, o.width / 2), seed + 10); };
    Network<Net> teacher(net(channels, o.width), seed + 1), honest(net(channels, o.width), seed + 1);
    const auto supervised = [&](Network<Net>& network, const Dataset<4>& set) {
      LabelsOnly<Net> method{teacher::None{}, network};
      fit(method, data::augmented(set, crop), teaching, {.epochs = o.teacher_epochs, .batch_size = 64, .seed = seed});
      return std::string();
    };
    arm("teacher, same net unpoisoned", honest, [&] { return supervised(honest, train); });
    arm("teacher, poisoned", teacher, [&] { return supervised(teacher, poisoned); });
    if (wanted('a')) {
      const auto split = train.split(0.2, seed);
      auto student = start();
      arm("(a) clean-data KD", student, [&] {
        Hinton<Net, Net> method{teacher, student, {.soft = {.temperature = 6, .weight = 0.95}, .hard = {.weight = 0.05}}};
        fit(method, data::augmented(split.train, crop), teaching, {.epochs = 40, .batch_size = 64, .seed = seed});
        return std::string();
      });
    }
    const auto photo = source::dead_leaves(512, 512, channels, seed + 100);
    auto patches = source::make_patches(photo.view(), o.patches, size, seed);
    source::match_brightness(patches.inputs.view(), mean, deviation);
    normalise(patches);
    if (o.arms.find_first_of("bcdijklmo") != std::string::npos) out_of_distribution(arm, start, teacher, honest, patches, seed);
    if (o.arms.find_first_of("efghn") == std::string::npos) return;
    if (o.source == "zskt")
      generator_arms<Zskt<Net, Net, source::ZsktNet>>(arm, start, teacher, patches, seed, source::zskt_generator(64, size, size, channels, o.maker));
    else
      generator_arms<Dfq<Net, Net, source::ZsktNet>>(arm, start, teacher, patches, seed, source::zskt_generator(64, size, size, channels, o.maker));
  }

  defense::SuppressOptions suppress(int layers, double lambda, double bound, std::uint64_t seed) const {
    return {.lambda = lambda, .shuffle = {.clones = 3, .layers = layers}, .until = 2, .seed = seed, .bound = bound, .selection = {.best = true}};
  }
  static std::string verdict(const defense::VaccineOutcome& out) {
    const char* names[] = {"collecting", "untested", "accepted", "best, none accepted,", "rejected"};
    return std::string("vaccine ") + names[static_cast<int>(out.verdict)] + " after " + std::to_string(out.trials) + " trials, tail " + std::to_string(out.tail);
  }
  /// The censor's vaccine is selected on the out-of-distribution patches; how well it does, on the test images, is for the reader.
  template <class Censor>
  std::string select(Censor& censor, const Dataset<4>& patches) {
    const std::string out = verdict(censor.select(patches, cpu));
    const auto report = defense::backdoor_report(censor.shuffled(), seen_test, seen_attacked, cpu);
    return out + ", suspicious " + std::to_string(100 * report.clean_rate) + " % of clean, " + std::to_string(100 * report.stamped_rate) +
           " % of stamped images, AUC " + std::to_string(report.separation);
  }

  template <class Arm, class Start>
  void out_of_distribution(Arm& arm, Start& start, Network<Net>& teacher, Network<Net>& honest, const Dataset<4>& patches, std::uint64_t seed) {
    const auto seen = data::augmented(patches, data::Pipeline{data::HorizontalFlip{}, data::RandomCrop{2}});
    const optim::Adam first{.lr = 2e-3f, .schedule = {.rule = optim::Cosine{0.1}}}, late{.lr = static_cast<float>(o.late_rate), .schedule = {.rule = optim::Cosine{}}};
    const FitOptions options{.epochs = o.ood_epochs, .batch_size = 128, .seed = seed};
    const loss::KlMean soft{.temperature = 8};
    const auto plain = [&](auto& method, auto&& note) {
      return [&] {
        fit(method, seen, first, options);
        return note();
      };
    };
    const auto silent = [] { return std::string(); };
    double rate = 0.1;
    if (wanted('b')) {
      auto student = start();
      Ood method{teacher, student, soft};
      arm("(b) OOD", student, plain(method, silent));
    }
    const auto vaccinated = [&](const char* name, int layers, double lambda, double bound) {
      auto student = start();
      WithVaccine<Ood> method{teacher, student, soft, {teacher, suppress(layers, lambda, bound, seed)}};
      const std::string chosen = select(method.censor_policy(), patches);
      arm(name, student, plain(method, [&] {
            rate = method.censor_policy().outcome().mask_rate;
            return chosen + ", mask rate " + std::to_string(rate);
          }));
    };
    if (wanted('j')) vaccinated("(ii) OOD + SV, first layers shuffled", -o.layers, o.lambda, o.bound);
    if (wanted('k')) vaccinated("(iii) OOD + SV, lambda < 0", o.layers, -o.lambda, std::numeric_limits<double>::infinity());
    if (wanted('o')) vaccinated("(c) OOD + SV, unlearning unbounded", o.layers, o.lambda, std::numeric_limits<double>::infinity());
    if (wanted('c') || wanted('i')) vaccinated("(c) OOD + SV", o.layers, o.lambda, o.bound);
    if (wanted('i')) {
      auto student = start();
      Ood::with_censor<RandomSuppress> method{teacher, student, soft, {rate, o.lambda}};
      arm("(i) OOD + random mask", student, plain(method, silent));
    }
    const defense::RetrospectionOptions searched{.search_steps = o.search_steps, .detach_clean = false};
    double norm = o.norm;
    const auto defended = [&](const std::string& name, Network<Net>& taught_by, const defense::RetrospectionOptions& search) {
      auto student = start();
      WithAbd<Ood, loss::KlBatch> method{taught_by, {student, taught_by, search, {.temperature = 8}}, soft, {taught_by, suppress(o.layers, o.lambda, o.bound, seed)}};
      const std::string chosen = select(method.censor_policy(), patches);
      arm(name, student, [&] {
        defense::fit_in_phases(method, seen, first, options, late, 1);
        return chosen + ", delta norm " + std::to_string(norm = method.student_policy().perturbation_norm());
      });
    };
    if (wanted('d')) defended("(d) OOD + SV + SR", teacher, searched);
    if (wanted('l'))
      defended("(iv) OOD + SV + SR, random perturbation", teacher,
               {.search_steps = 0, .initial_noise = norm / std::sqrt(static_cast<double>(size * size * channels)), .detach_clean = false});
    if (wanted('m')) {
      auto student = start();
      Ood method{honest, student, soft};
      arm("(v) clean teacher, OOD", student, plain(method, silent));
      defended("(v) clean teacher, OOD + SV + SR", honest, searched);
    }
  }

  template <class Method, class Arm, class Start, class Maker>
  void generator_arms(Arm& arm, Start& start, Network<Net>& teacher, const Dataset<4>& patches, std::uint64_t seed, const Maker& maker) {
    const std::string name = o.source == "zskt" ? "ZSKT" : "DFQ";
    const source::GeneratorOptions schedule{.latent = 64, .batches_per_epoch = std::max(1, o.batches * o.late / 100), .student_steps = 10};
    const optim::Adam first{.lr = 2e-3f, .schedule = {.rule = optim::Cosine{0.1}}, .clip = {.norm = 5}},
        late{.lr = static_cast<float>(o.late_rate), .schedule = {.rule = optim::Cosine{}}, .clip = {.norm = 5}};
    const FitOptions options{.epochs = o.batches / schedule.batches_per_epoch, .batch_size = 64, .seed = seed};
    const auto vaccine = [&](double lambda) {
      return defense::VaccineOptions{.lambda = lambda, .shuffle = {.clones = 3, .layers = o.layers}, .until = 2, .pseudo_test_batches = o.tested_batches};
    };
    if (wanted('e')) {
      auto student = start();
      Network<source::ZsktNet> generator(maker, seed + 20);
      Method method{teacher, student, {}, {}, {generator, schedule}};
      arm("(e) " + name, student, [&] { return fit(method, data::None{}, first, options), std::string(); });
    }
    using Censored = typename Method::template with_censor<defense::SoftSuppress<Net>>;
    if (wanted('f')) {
      auto student = start();
      Network<source::ZsktNet> generator(maker, seed + 20);
      Censored method{teacher, student, {}, {teacher, suppress(o.layers, o.lambda, o.bound, seed)}, {generator, schedule}};
      const std::string chosen = select(method.censor_policy(), patches);
      arm("(f) " + name + " + SV", student, [&] {
        fit(method, data::None{}, first, options);
        return chosen + ", mask rate " + std::to_string(method.censor_policy().outcome().mask_rate);
      });
    }
    if (wanted('n')) {
      auto student = start();
      Network<source::ZsktNet> generator(maker, seed + 20);
      const defense::VaccineOptions vaccine{.lambda = o.lambda, .shuffle = {.clones = 3, .layers = o.layers}, .until = 2, .pseudo_test_batches = o.tested_batches,
                                            .selection = {.best = true}};
      WithVaccine<Method> method{teacher, student, {}, {}, {{generator, schedule}, teacher, vaccine}};
      arm("(f') " + name + " + SV, images alone", student, [&] { return fit(method, data::None{}, first, options), verdict(method.source_policy().outcome()); });
    }
    const auto in_phases = [&](const std::string& label, auto& method, Network<Net>& student) {
      arm(label, student, [&] {
        defense::fit_in_phases(method, data::None{}, first, options, late, 1);
        return "delta norm " + std::to_string(method.student_policy().perturbation_norm());
      });
    };
    if (wanted('g')) {
      auto student = start();
      Network<source::ZsktNet> generator(maker, seed + 20);
      WithRetrospection<Method> method{teacher, {student, teacher, {.search_steps = o.search_steps}}, {}, {}, {generator, schedule}};
      in_phases("(g) " + name + " + SR", method, student);
    }
    if (wanted('h')) {
      auto student = start();
      Network<source::ZsktNet> generator(maker, seed + 20);
      WithRetrospection<Censored> method{teacher, {student, teacher, {.search_steps = o.search_steps}}, {}, {teacher, suppress(o.layers, o.lambda, o.bound, seed)}, {generator, schedule}};
      select(method.censor_policy(), patches);
      in_phases("(h) " + name + " + SV + SR", method, student);
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
  std::map<std::string, std::string*> words{{"--data", &o.data}, {"--set", &o.set}, {"--trigger", &o.trigger}, {"--source", &o.source}, {"--arms", &o.arms}};
  std::map<std::string, int*> counts{{"--seeds", &o.seeds}, {"--first-seed", &o.first_seed}, {"--validate", &o.validate}, {"--ood-epochs", &o.ood_epochs},
                                     {"--patches", &o.patches}, {"--batches", &o.batches}, {"--late", &o.late}, {"--tested-batches", &o.tested_batches}, {"--layers", &o.layers}, {"--search-steps", &o.search_steps},
                                     {"--width", &o.width}, {"--maker", &o.maker}, {"--teacher-epochs", &o.teacher_epochs}};
  std::map<std::string, double*> numbers{{"--lambda", &o.lambda}, {"--bound", &o.bound}, {"--norm", &o.norm}, {"--late-rate", &o.late_rate}};
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i], value = argv[i + 1];
    if (words.count(key)) *words[key] = value;
    else if (counts.count(key)) *counts[key] = std::stoi(value);
    else if (numbers.count(key)) *numbers[key] = std::stod(value);
    else return std::cerr << "abd: unknown option " << key << '\n', 2;
  }
  auto [train, test] = [&]() -> TrainTest<4> {
    if (o.set == "cifar10") return {halved(data::load_cifar({o.data + "/cifar10/train.bin"})), halved(data::load_cifar({o.data + "/cifar10/test.bin"}))};
    if (o.set == "digits") {  // 8 x 8 as they are
      const auto flat = data::load_digits(o.data + "/digits");
      Dataset<4> images{Tensor<float, 4>(Shape<4>{flat.size(), 8, 8, 1}), flat.labels, flat.classes, flat.name};
      std::copy(flat.inputs.begin(), flat.inputs.end(), images.inputs.begin());
      return images.split(0.7, 1);
    }
    auto whole = data::load_mnist(o.data + "/" + o.set);
    return {halved(whole.train), halved(whole.test)};
  }();
  if (o.validate) {  // to choose anything: the test images stay unseen
    auto parts = train.split(0.8, 77);
    train = std::move(parts.train), test = std::move(parts.test);
  }
  std::cout << "# " << o.set << (o.validate ? " (scored on a fifth of the training images)" : "") << ", trigger " << o.trigger << ", " << bench::processor()
            << ", one thread, seeds " << o.first_seed << " to " << o.first_seed + o.seeds - 1 << std::endl;
  double sum = 0, squares = 0;
  for (const float x : train.inputs) sum += static_cast<double>(x), squares += static_cast<double>(x) * static_cast<double>(x);
  const double n = static_cast<double>(train.inputs.size()), mean = sum / n, deviation = std::sqrt(squares / n - mean * mean);
  const auto pattern = source::dead_leaves(train.inputs.extent(1), train.inputs.extent(2), train.inputs.extent(3), 5);
  const auto go = [&, &train = train, &test = test](auto trigger) {
    Experiment<decltype(trigger)> experiment{.o = o, .trigger = trigger, .channels = train.inputs.extent(3), .size = train.inputs.extent(1), .mean = mean, .deviation = deviation,
                                             .accuracy = {}, .success = {}, .seconds = {}, .order = {}, .seen_test = {}, .seen_attacked = {}};
    for (int s = 0; s < o.seeds; ++s) experiment.run(train, test, static_cast<std::uint64_t>(1000 * (o.first_seed + s)));
    experiment.table();
  };
  if (o.trigger == "grid") return go(attack::BadnetGrid{}), 0;
  if (o.trigger == "square") return go(attack::BadnetSquare{}), 0;
  auto bytes = pattern.clone();
  for (float& x : bytes) x *= 255;
  attack::Blend blend;
  blend.pattern = bytes.view();
  go(blend);
}
