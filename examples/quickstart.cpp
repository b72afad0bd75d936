// Distils a small student on real handwritten digits, and asks whether that helped: teacher, student alone and distilled
// student over several seeds on held-out digits, with a paired test. Writes quickstart.json and quickstart.svg.
// Usage: quickstart [--short] [--out FOLDER]

#include <filesystem>
#include <iomanip>
#include <retort.hpp>
#include <retort/io/json.hpp>
#include <retort/io/svg.hpp>

using namespace retort;

using TeacherNet = nn::Sequential<nn::Linear, nn::Relu, nn::Dropout, nn::Linear, nn::Relu, nn::Dropout, nn::Linear>;
using StudentNet = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;

int main(int argc, char** argv) {
  bool brief = false;
  std::filesystem::path out = ".";
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--short") brief = true;
    if (std::string(argv[i]) == "--out" && i + 1 < argc) out = argv[++i];
  }
  const int seeds = brief ? 5 : 10, epochs = brief ? 30 : 60;
  const Dataset<2> digits = data::load_digits(RETORT_EXAMPLE_DATA);
  const TeacherNet teacher_net(nn::Linear{64, 256}, nn::Relu{}, nn::Dropout{0.3f}, nn::Linear{256, 256}, nn::Relu{},
                               nn::Dropout{0.3f}, nn::Linear{256, 10});
  const StudentNet student_net(nn::Linear{64, 16}, nn::Relu{}, nn::Linear{16, 10});
  const optim::Sgd optimizer{.lr = 0.05f, .momentum = 0.9f, .weight_decay = 1e-4f, .schedule = {.rule = optim::Cosine{}}};

  std::vector<double> teachers, alone, distilled;
  nlohmann::json runs = nlohmann::json::array();
  for (int seed = 0; seed < seeds; ++seed) {
    std::clog << "seed " << seed + 1 << " of " << seeds << '\n';
    const auto split = digits.split(0.3, static_cast<std::uint64_t>(seed));  // 539 to learn from, 1258 held out
    const FitOptions options{.epochs = epochs, .batch_size = 32, .seed = static_cast<std::uint64_t>(seed)};
    Network<TeacherNet> teacher(teacher_net, options.seed);
    Network<StudentNet> one(student_net, options.seed + 100), other = one.clone();  // the same start
    const auto run = [&](auto& method, const char* name, std::vector<double>& scores) {
      std::clog << "  " << name << '\n';
      const Report report = fit(method, split.train, optimizer, options, callbacks::Accuracy{split.test, "accuracy", epochs},
                                callbacks::ProgressBar{std::clog, 1});
      scores.push_back(100 * report.final_metric("accuracy"));
      runs.push_back({{"arm", name}, {"accuracy", scores.back()}, {"report", report}});
    };
    LabelsOnly<TeacherNet> supervised{teacher::None{}, teacher};
    run(supervised, "teacher", teachers);
    LabelsOnly<StudentNet> baseline{teacher::None{}, one};
    run(baseline, "student alone", alone);
    Hinton<TeacherNet, StudentNet> method{teacher, other,
        {.soft = {.temperature = 4.f, .weight = 0.9f}, .hard = {.weight = 0.1f}}};
    run(method, "distilled student", distilled);
  }

  namespace st = statistics;
  const auto test = st::paired_t_test(distilled, alone);
  std::cout << "\nAccuracy on held-out digits, mean and standard deviation over " << seeds << " seeds\n\n"
            << "  arm                parameters    accuracy %\n" << std::fixed << std::setprecision(2);
  io::Series points{.name = "mean and standard deviation", .x = {}, .y = {}, .line = false};
  const auto row = [&](const char* name, index_t parameters, const std::vector<double>& scores) {
    std::cout << "  " << std::left << std::setw(19) << name << std::right << std::setw(10) << parameters << "   " << st::mean(scores)
              << " +- " << st::standard_deviation(scores) << '\n';
    points.x.push_back(static_cast<double>(points.x.size()));
    points.y.push_back(st::mean(scores));
    points.deviation.push_back(st::standard_deviation(scores));
  };
  row("teacher", Network<TeacherNet>(teacher_net).parameter_count(), teachers);
  row("student alone", Network<StudentNet>(student_net).parameter_count(), alone);
  row("distilled student", Network<StudentNet>(student_net).parameter_count(), distilled);
  std::cout << "\n  distilled - alone: " << st::mean(distilled) - st::mean(alone) << " points, paired t-test p = " << std::scientific
            << std::setprecision(1) << test.p_two_sided << (test.p_two_sided < 0.05 ? " (significant)\n" : " (not significant)\n");

  const auto json = out / "quickstart.json", picture = out / "quickstart.svg";
  io::save_json(json.string(), {{"seeds", seeds}, {"p_two_sided", test.p_two_sided}, {"runs", runs}});
  io::save_svg(picture.string(), {.title = "Digits", .y_label = "held-out accuracy, %", .series = {points},
                                  .categories = {"teacher", "alone", "distilled"}});
  std::cout << "\n  wrote " << json.string() << " and " << picture.string() << '\n';
  const bool learned = st::mean(teachers) > 90 && st::mean(distilled) > st::mean(alone);
  return learned ? 0 : 1;
}
