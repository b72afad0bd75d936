// DiSK beside everything else that a method may be made of.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/predict/logits.hpp>
#include <retort/train/metrics.hpp>

#include "worlds.hpp"

using namespace retort;
using namespace retort::censor;
using test::Mlp;
using test::World;

namespace {
struct hidden;
using TappedMlp = nn::Sequential<nn::Linear, nn::Relu, nn::Tap<hidden>, nn::Linear>;
TappedMlp tapped(index_t in, index_t width, index_t out) {
  return TappedMlp(nn::Linear{in, width}, nn::Relu{}, nn::Tap<hidden>{}, nn::Linear{width, out});
}
/// A feature loss: the mean squared distance of the hidden layers' means.
struct SameActivity {
  double weight = 0.1;
  template <class E>
  auto evaluate(E& e) const {
    const auto gap = subtract(e.tape, mean_axis(e.tape, tap<hidden>(e.student), 1), mean_axis(e.tape, tap<hidden>(e.teacher), 1));
    return scale(e.tape, static_cast<typename decltype(gap)::value_type>(weight), mean(e.tape, multiply(e.tape, gap, gap)));
  }
};
/// Trains; the student's cross-entropy must fall, and the gates lie inside (0, 1). (The loss itself may rise: help lowers it.)
template <class Method, class Data>
void check_learns(Method& method, const Data& data) {
  const auto cross_entropy = [&] {
    Cpu cpu;
    return metrics::negative_log_likelihood(predict_logits(method.student_policy().network(), data, cpu), data.label_view());
  };
  const double before = cross_entropy();
  fit(method, data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, {.epochs = 3});
  CHECK(cross_entropy() < before);
  const auto s = method.censor_policy().summary();
  CHECK(s.help > 0);
  CHECK(s.help < 1);
}
constexpr Alternate quick{.warmup = 1, .student_passes = 1, .guide_passes = 1};
}  // namespace

TEST_CASE("the four named forms") {
  World world;
  const auto run = [&]<class M>(M*, auto loss) {
    Network<Mlp> student(test::mlp(8, 3, 4), 5);
    M method{world.teacher, student, loss, typename M::censor(guide_b23(4, 8, 8), {.phases = quick})};
    check_learns(method, world.data);
  };
  run(static_cast<Disk<Mlp, Mlp, GuideB23>*>(nullptr), test::top3());
  run(static_cast<Disk24<Mlp, Mlp, GuideB23>*>(nullptr), test::top3());
  run(static_cast<Disk25<Mlp, Mlp, GuideB23>*>(nullptr), test::top3());
  run(static_cast<DiskPoster<Mlp, Mlp, GuideB23>*>(nullptr), loss::ScaffoldedPoster{});
}

TEST_CASE("over an ensemble of teachers") {
  World world;
  Network<Mlp> second(test::mlp(8, 24, 4), 9);
  using Teachers = teacher::Ensemble<teacher::LogitMean, teacher::Frozen<Mlp>, teacher::Frozen<Mlp>>;
  using Method = Disk<Teachers, Mlp, GuideB23>;
  Method method{Teachers(teacher::LogitMean{}, world.teacher, second), world.student, test::top3(), Method::censor(guide_b23(4, 8, 8), {.phases = quick})};
  check_learns(method, world.data);
}

TEST_CASE("with a feature loss, fed by taps of teacher and student") {
  World world;
  Network<TappedMlp> teacher(tapped(8, 24, 4), 1), student(tapped(8, 3, 4), 2);
  LabelsOnly<TappedMlp> supervised{teacher::None{}, teacher};
  fit(supervised, world.data, optim::Sgd{.lr = 0.1f, .momentum = 0.9f}, {.epochs = 5});
  const auto run = [&]<class Input>(Input*, index_t width) {
    using Method = typename Disk<TappedMlp, TappedMlp, GuideB23, Input>::template with_loss<loss::Joint<loss::ScaffoldedSoftTargets, SameActivity>>;
    Method method{teacher, student, loss::Joint(test::top3(), SameActivity{}), typename Method::censor(guide_b23(width, 8, 8), {.phases = quick})};
    check_learns(method, world.data);
  };
  run(static_cast<TeacherTap<hidden>*>(nullptr), 24);
  run(static_cast<StudentTap<hidden>*>(nullptr), 3);
}

TEST_CASE("in double precision, by with_backend alone; the same text, the same numbers up to rounding") {
  World world;
  using Method = Disk<Mlp, Mlp, GuideB23>;
  using Precise = Method::with_backend<Double<Cpu>>;
  Network<Mlp, Double<Cpu>> teacher(test::mlp(8, 24, 4)), student(test::mlp(8, 3, 4));
  teacher.copy_from(world.teacher);
  student.copy_from(world.student);
  Precise precise{teacher, student, test::top3(), Precise::censor(guide_b23(4, 8, 8), {.phases = quick})};
  Method method{world.teacher, world.student, test::top3(), Method::censor(guide_b23(4, 8, 8), {.phases = quick})};
  const FitOptions options{.epochs = 1};
  const double fine = fit(precise, world.data, optim::Sgd{.lr = 0.02f}, options).final_loss();
  CHECK(fit(method, world.data, optim::Sgd{.lr = 0.02f}, options).final_loss() == doctest::Approx(fine).epsilon(1e-3));
}

TEST_CASE("convolutional guides b24, b25 and b26") {
  struct map;
  using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::Tap<map>, nn::GlobalAveragePool, nn::Linear>;
  const auto net = [](index_t width) {
    return Net(nn::Conv2d{1, width}, nn::BatchNorm{width}, nn::Relu{}, nn::Tap<map>{}, nn::GlobalAveragePool{}, nn::Linear{width, 3});
  };
  Dataset<4> data{Tensor<float, 4>(Shape{48, 6, 6, 1}), {}, 3, "images"};
  Rng rng(4);
  for (index_t i = 0; i < 48; ++i) {
    data.labels.push_back(static_cast<std::int32_t>(i % 3));
    for (index_t k = 0; k < 36; ++k) data.inputs.view().row(i)[k] = static_cast<float>(rng.normal() + static_cast<double>(i % 3));
  }
  Network<Net> teacher(net(8), 1);
  const auto run = [&]<class G, class Input>(G guide, Input*) {
    Network<Net> student(net(4), 2);
    using Method = Disk<Net, Net, G, Input>;
    Method method{teacher, student, {.help = {2}}, typename Method::censor(guide, {.phases = quick})};
    check_learns(method, data);
  };
  run(guide_b24(8, 8, 3, 8), static_cast<TeacherTap<map>*>(nullptr));
  run(guide_b25(4, 8, 3, 8), static_cast<StudentTap<map>*>(nullptr));
  run(guide_b26(8, 4, 8, 3, 8), static_cast<BothTaps<map, map>*>(nullptr));
}
