// DiSK on Fashion-MNIST: a small CNN as teacher, a student at least eight times smaller. The set lies under
// RETORT_DATA_DIR (environment, else what CMake was told). Usage: disk_experiment_fashion [name=value ...]: seeds=5 samples=6000
// channels=4, and the names of experiment::Recipe.

#include "experiment.hpp"

using namespace experiment;

namespace {
using TeacherNet = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::MaxPool, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::MaxPool, nn::Flatten, nn::Linear,
                                  nn::Relu, nn::Dropout, nn::Linear>;
using StudentNet = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Conv2d, nn::BatchNorm, nn::Relu, nn::GlobalAveragePool, nn::Linear>;
using Method = Disk<teacher::Cached<teacher::Frozen<TeacherNet>>, StudentNet, censor::GuideB23>;
}  // namespace

int main(int argc, char** argv) {
  const Arguments a(argc, argv);
  print_header("disk_experiment_fashion", a);
  const char* folder = std::getenv("RETORT_DATA_DIR");
  const auto [all, test] = data::load_mnist(std::string(folder ? folder : RETORT_DATA_DIR) + "/fashion-mnist");
  const Recipe r = Recipe::from(a, {.rounds = 5, .student_temperature = 2, .kd_tuned = 2, .batch_size = 64});  // DiSK's numbers: those chosen on digits
  const index_t samples = a.count("samples", 6000), c = a.count("channels", 4);
  Table table, gates;
  for (int seed = 0; seed < a.count("seeds", 5); ++seed) {
    const auto s = static_cast<std::uint64_t>(seed);
    const auto train = all.split(static_cast<double>(samples) / static_cast<double>(all.size()), s).train;
    Network<TeacherNet> teacher(TeacherNet(nn::Conv2d{1, 16}, nn::BatchNorm{16}, nn::Relu{}, nn::MaxPool{2}, nn::Conv2d{16, 32}, nn::BatchNorm{32}, nn::Relu{},
                                           nn::MaxPool{2}, nn::Flatten{}, nn::Linear{7 * 7 * 32, 64}, nn::Relu{}, nn::Dropout{0.3f}, nn::Linear{64, 10}), s);
    LabelsOnly<TeacherNet> supervised{teacher::None{}, teacher};
    fit(supervised, train, r.optimizer(), r.options(8, s));
    table.add("teacher", accuracy(teacher, test));
    Network<StudentNet> start(StudentNet(nn::Conv2d{.in = 1, .out = c, .stride = 2}, nn::BatchNorm{c}, nn::Relu{}, nn::Conv2d{.in = c, .out = 2 * c, .stride = 2},
                                         nn::BatchNorm{2 * c}, nn::Relu{}, nn::GlobalAveragePool{}, nn::Linear{2 * c, 10}), s + 100);
    if (seed == 0)
      std::cout << "Teacher " << teacher.parameter_count() << " parameters, student " << start.parameter_count() << "; " << samples << " training samples, "
                << test.size() << " test samples.\n\n";
    LabelsOnly<StudentNet> pretrain{teacher::None{}, start};
    fit(pretrain, train, r.optimizer(), r.options(r.passes(), s + 200));
    all_arms<Method>(r, teacher, start, censor::guide_b23(10, 32, 32), train, test, s, table, &accuracy<Network<StudentNet>, Dataset<4>>, true, &gates);
    std::clog << "seed " << seed << '\n';
  }
  table.print("KD");
  table.print("KD, tuned temperature");
  gates.print("");
}
