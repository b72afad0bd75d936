// DiSK-3: the 8x8 digits, a wide teacher and narrow students. Usage: disk_experiment_digits [name=value ...]
// seeds=20 first_seed=0 width=6 form=common|24|25|poster input=teacher|both (common form) split=test|validation, and the names of experiment::Recipe.

#include "experiment.hpp"

using namespace experiment;

namespace {
using TeacherNet = nn::Sequential<nn::Linear, nn::Relu, nn::Dropout, nn::Linear, nn::Relu, nn::Dropout, nn::Linear>;
struct hidden;
using StudentNet = nn::Sequential<nn::Linear, nn::BatchNorm, nn::Relu, nn::Tap<hidden>, nn::Linear>;  // batch norm: no unit dies
/// A guide of the teacher's logits and the student's hidden layer: what the teacher says, and what the student can see.
using BothInputs = censor::Both<censor::TeacherLogits, censor::StudentTap<hidden>>;
using BothGuide = nn::Sequential<nn::Towers<nn::Linear, nn::Linear>, nn::BatchNorm, nn::Relu, nn::Linear, nn::BatchNorm, nn::Relu, nn::Linear>;
BothGuide both_guide(index_t width) {
  return BothGuide(nn::Towers<nn::Linear, nn::Linear>{{10, 16}, {width, 16}}, nn::BatchNorm{32}, nn::Relu{}, nn::Linear{32, 32}, nn::BatchNorm{32},
                   nn::Relu{}, nn::Linear{32, 1, true, nn::Init::glorot});
}
using Cached = teacher::Cached<teacher::Frozen<TeacherNet>>;

template <class Method, class Guide>
void run(const Arguments& a, const Recipe& r, const Guide& guide) {
  const auto digits = data::load_digits(RETORT_EXAMPLE_DATA);
  const int seeds = a.count("seeds", 20), first = a.count("first_seed", 0);
  const index_t width = a.count("width", 6);
  const bool controls = a.count("controls", 1) != 0;
  Table table, gates;
  for (int seed = first; seed < first + seeds; ++seed) {
    const auto s = static_cast<std::uint64_t>(seed);
    const auto [train, rest] = digits.split(0.3, s);      // 539 to learn from
    const auto [validation, test] = rest.split(0.4, s);   // 503 to choose by, 755 to report
    Network<TeacherNet> teacher(TeacherNet(nn::Linear{64, 256}, nn::Relu{}, nn::Dropout{0.3f}, nn::Linear{256, 256}, nn::Relu{}, nn::Dropout{0.3f},
                                           nn::Linear{256, 10}), s);
    LabelsOnly<TeacherNet> supervised{teacher::None{}, teacher};
    fit(supervised, train, r.optimizer(), r.options(30, s));
    Network<StudentNet> start(StudentNet(nn::Linear{64, width}, nn::BatchNorm{width}, nn::Relu{}, nn::Tap<hidden>{}, nn::Linear{width, 10}), s + 100);
    LabelsOnly<StudentNet> pretrain{teacher::None{}, start};
    fit(pretrain, train, r.optimizer(), r.options(r.passes(), s + 200));
    const auto& held_out = a.text("split", "test") == "test" ? test : validation;
    table.add("teacher", accuracy(teacher, held_out));
    all_arms<Method>(r, teacher, start, guide, train, held_out, s, table, &accuracy<Network<StudentNet>, Dataset<2>>, controls, &gates);
    std::clog << "seed " << seed << '\n';
  }
  table.print("KD");
  if (r.kd_tuned > 0) table.print("KD, tuned temperature");
  if (controls) table.print("constant gate");
  gates.print("");
}
}  // namespace

int main(int argc, char** argv) {
  const Arguments a(argc, argv);
  print_header("disk_experiment_digits", a);
  const Recipe r = Recipe::from(a, {.student_temperature = 2});  // chosen on the validation split: see the results page
  const std::string form = a.text("form", "common");
  const auto b23 = censor::guide_b23(10, 32, 32);
  using G = censor::GuideB23;
  if (a.text("input", "teacher") == "both") return run<Disk<Cached, StudentNet, BothGuide, BothInputs>>(a, r, both_guide(a.count("width", 6))), 0;
  if (form == "common") run<Disk<Cached, StudentNet, G>>(a, r, b23);
  if (form == "24") run<Disk24<Cached, StudentNet, G>>(a, r, b23);
  if (form == "25") run<Disk25<Cached, StudentNet, G>>(a, r, b23);
  if (form == "poster") run<DiskPoster<Cached, StudentNet, G>>(a, r, b23);
}
