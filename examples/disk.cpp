// DiSK on real handwritten digits: does a guide that censors what is too hard help a student of three hidden units? Equal
// starts (a student trained on labels) and equal student passes for labels alone, distillation and DiSK, with a paired
// test. Writes disk.json and disk.svg. Usage: disk [--short] [--out FOLDER]

#include <filesystem>
#include <iomanip>
#include <retort.hpp>
#include <retort/io/json.hpp>
#include <retort/io/svg.hpp>

using namespace retort;

using TeacherNet = nn::Sequential<nn::Linear, nn::Relu, nn::Dropout, nn::Linear, nn::Relu, nn::Dropout, nn::Linear>;
using StudentNet = nn::Sequential<nn::Linear, nn::BatchNorm, nn::Relu, nn::Linear>;
using Teacher = teacher::Cached<teacher::Frozen<TeacherNet>>;
using Method = Disk<Teacher, StudentNet, censor::GuideB23>;

int main(int argc, char** argv) {
  bool brief = false;
  std::filesystem::path out = ".";
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--short") brief = true;
    if (std::string(argv[i]) == "--out" && i + 1 < argc) out = argv[++i];
  }
  const int seeds = brief ? 6 : 20, rounds = brief ? 10 : 20;
  const index_t width = 3;
  const Dataset<2> digits = data::load_digits(RETORT_EXAMPLE_DATA);
  const optim::Sgd optimizer{.lr = 0.05f, .momentum = 0.9f, .weight_decay = 1e-4f, .schedule = {.rule = optim::Cosine{}}};

  std::vector<double> labels, distilled, scaffolded;
  double help = 0, help_on_errors = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    std::clog << "seed " << seed + 1 << " of " << seeds << '\n';
    const auto s = static_cast<std::uint64_t>(seed);
    const auto parts = digits.split(0.3, s);  // 539 to learn from, 1258 held out
    const Dataset<2>&train = parts.train, &test = parts.test;
    const FitOptions passes{.epochs = 3 * rounds, .batch_size = 32, .seed = s};

    Network<TeacherNet> teacher(TeacherNet(nn::Linear{64, 256}, nn::Relu{}, nn::Dropout{0.3f}, nn::Linear{256, 256}, nn::Relu{}, nn::Dropout{0.3f},
                                           nn::Linear{256, 10}), s);
    LabelsOnly<TeacherNet> supervised{teacher::None{}, teacher};
    fit(supervised, train, optimizer, {.epochs = 30, .batch_size = 32, .seed = s}, callbacks::ProgressBar{std::clog, 1});
    Network<StudentNet> start(StudentNet(nn::Linear{64, width}, nn::BatchNorm{width}, nn::Relu{}, nn::Linear{width, 10}), s + 100);
    LabelsOnly<StudentNet> first{teacher::None{}, start};
    fit(first, train, optimizer, {.epochs = 3 * rounds, .batch_size = 32, .seed = s + 200});

    const auto accuracy = [&](Network<StudentNet>& student) {
      Cpu cpu;
      return 100 * metrics::accuracy(predict_logits(student, test, cpu), test.label_view());
    };
    Network<StudentNet> one = start.clone(), two = start.clone(), three = start.clone();
    LabelsOnly<StudentNet> alone{teacher::None{}, one};
    fit(alone, train, optimizer, passes);
    labels.push_back(accuracy(one));
    Hinton<Teacher, StudentNet> hinton{teacher, two, {.soft = {.temperature = 4, .weight = 0.9}, .hard = {.weight = 0.1}}};
    fit(hinton, train, optimizer, passes);
    distilled.push_back(accuracy(two));
    Method disk{teacher, three, {.hint = {.temperature = 2, .teacher_temperature = 4}},
                Method::censor(censor::guide_b23(10, 32, 32), {.phases = {.warmup = 5, .student_passes = 3, .guide_passes = 3}, .optimizer = optimizer})};
    fit(disk, train, optimizer, {.epochs = rounds, .batch_size = 32, .seed = s}, callbacks::GuideLog{}, callbacks::ProgressBar{std::clog, 1});
    scaffolded.push_back(accuracy(three));
    help += disk.censor_policy().summary().help / seeds;
    help_on_errors += disk.censor_policy().summary().help_on_errors / seeds;
  }

  namespace st = statistics;
  io::Series points{.name = "mean and standard deviation", .x = {}, .y = {}, .line = false};
  std::cout << "\nHeld-out accuracy of a student with " << width << " hidden units, mean and standard deviation over " << seeds << " seeds\n\n"
            << std::fixed << std::setprecision(2);
  for (const auto& [name, scores] : {std::pair{"labels alone", &labels}, {"distillation", &distilled}, {"DiSK", &scaffolded}}) {
    std::cout << "  " << std::left << std::setw(14) << name << std::right << st::mean(*scores) << " +- " << st::standard_deviation(*scores) << '\n';
    points.x.push_back(static_cast<double>(points.x.size()));
    points.y.push_back(st::mean(*scores));
    points.deviation.push_back(st::standard_deviation(*scores));
  }
  const auto test = st::paired_t_test(scaffolded, distilled);
  const double gain = st::mean(scaffolded) - st::mean(distilled);
  std::cout << "\n  DiSK - distillation: " << gain << " points, paired t-test p = " << std::setprecision(3) << test.p_two_sided
            << "\n  mean help at the end: " << help << ", for samples that the student gets wrong " << help_on_errors << '\n';
  io::save_json((out / "disk.json").string(), {{"labels", labels}, {"distillation", distilled}, {"disk", scaffolded}, {"p_two_sided", test.p_two_sided}});
  io::save_svg((out / "disk.svg").string(), {.title = "DiSK on digits", .y_label = "held-out accuracy, %", .series = {points},
                                             .categories = {"labels", "distillation", "DiSK"}});
  std::cout << "  wrote " << (out / "disk.json").string() << " and " << (out / "disk.svg").string() << '\n';
  // Six paired seeds prove no difference of accuracies; that DiSK learns, and whom the guide helps, they do.
  return gain > -3 && st::mean(scaffolded) > 60 && help > 0 && help_on_errors > 1.2 * help ? 0 : 1;
}
