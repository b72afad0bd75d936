// The one-dimensional world of the poster: what the surfaces look like, and whom a trained guide helps.
#include <doctest/doctest.h>

#include "../../examples/disk_interval.hpp"
#include "fixture.hpp"

using namespace interval;

namespace {
const std::vector<Sample> world = midpoints();
constexpr auto none = [](double) { return 0.; };
constexpr auto oracle = [](double x) { return region_of(x) == i1 ? 1. : 0.; };
constexpr Student good{4.9, 2.2}, wide{2, 5.1}, narrow{1.9, 1.2};
}  // namespace

TEST_CASE("accuracies of the three solutions") {
  CHECK(std::abs(accuracy(world, {}, {2, 1}) - 20. / 30) < 1e-3);
  CHECK(std::abs(accuracy(world, {}, {2, 5}) - 25. / 30) < 1e-3);
  CHECK(std::abs(accuracy(world, {}, {5, 2}) - 26. / 30) < 1e-3);
}

TEST_CASE("the hand-written surface is the library's loss") {
  const auto help = [](double x) { return 0.1 + 0.05 * x; };
  test::Batch b(90, 2);
  test::Tensor<double, 1> weights(test::Shape{90});
  for (retort::index_t r = 0; r < 90; ++r) {
    const Sample& d = world[static_cast<std::size_t>(r)];
    const double one = evaluate({}, {3, 2.5}, d.x).one;
    b.student(r, 0) = std::log(1 - one), b.student(r, 1) = std::log(one);
    b.labels[static_cast<std::size_t>(r)] = positive(d.x);
    b.teacher(r, 0) = positive(d.x) ? -40 : 40, b.teacher(r, 1) = -b.teacher(r, 0);
    b.gate(r, 0) = help(d.x);
    weights(r) = 90 * d.mass;
  }
  retort::Cpu cpu;
  test::Tape<double, retort::Cpu> tape(cpu);
  auto turn = b.turn(tape, tape.constant(test::View<const double, 2>(b.student.view())), tape.constant(test::View<const double, 2>(b.gate.view())));
  turn.weights = weights.view();
  const retort::loss::ScaffoldedPoster poster{.hint = {.temperature = 1, .teacher_temperature = 1, .weight = 1}, .hard = {.weight = 0}};
  CHECK(retort::loss::evaluate(poster, turn).value.data[0] == doctest::Approx(loss(world, {}, {3, 2.5}, help).value).epsilon(1e-9));
}

TEST_CASE("distillation alone has three minima; full help on I1 removes the wide one and widens the good basin") {
  const auto kd = basins(world, {}, none), helped = basins(world, {}, oracle);
  CHECK(std::abs(share_near(kd, good) - 0.455) < 0.01);
  CHECK(std::abs(share_near(kd, wide) - 0.237) < 0.01);
  CHECK(std::abs(share_near(kd, narrow) - 0.122) < 0.01);
  CHECK(std::abs(share_near(helped, good) - 0.697) < 0.01);
  CHECK(share_near(helped, {2, 5}) == 0);
}

TEST_CASE("a guide trained at the good solution helps I1 alone; without the partition term the order inverts") {
  Student s = good;
  const auto with = mean_gates(train_guide(s, world, {}, {.price = 10, .budget = 0.3, .partition = true}, 1500, 0.1, 5));
  CHECK(with[i1] > 0.9);
  for (Region r : {gap, i2, rest}) CHECK(with[r] < 0.1);
  s = good;
  const auto without = mean_gates(train_guide(s, world, {}, {.price = 10, .budget = 0.1, .partition = false}, 1500, 0.1, 5));
  for (Region r : {gap, i2, rest}) CHECK(without[r] > without[i1] + 0.3);
}
