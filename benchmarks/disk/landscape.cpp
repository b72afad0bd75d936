// DiSK-1: the one-dimensional world, (1) to (6) of its specification. Usage: disk_experiment_landscape [sets=20]

#include <iomanip>

#include "disk_interval.hpp"
#include "experiment.hpp"

using experiment::Arguments;
using namespace interval;

namespace {
constexpr Student good{4.9, 2.2};
constexpr auto none = [](double) { return 0.; };
constexpr auto oracle = [](double x) { return region_of(x) == i1 ? 1. : 0.; };
void ok(const char* what, bool passed) { std::cout << (passed ? "PASS " : "MISS ") << what << "\n\n"; }

void surfaces(const std::vector<Sample>& world) {
  std::cout << "|k|epsilon|help on I1|good basin|wide minimum (2, 5)|narrow minimum (2, 1)|\n|---|---|---|---|---|---|\n";
  for (double k : {4., 8.})
    for (double e : {0.1, 0.02})
      for (double g : {0., 0.5, 1.}) {
        const auto b = basins(world, {k, e}, [g](double x) { return g * oracle(x); });
        std::cout << '|' << k << '|' << e << '|' << g << '|' << 100 * share_near(b, good, 0.5) << " %|" << 100 * share_near(b, {2, 5}, 0.5) << " %|"
                  << 100 * share_near(b, {2, 1}, 0.5) << " %|\n";
      }
  std::cout << '\n';
}

/// 90 points of the density; every region keeps its share of the mass in expectation.
std::vector<Sample> sampled(std::uint64_t seed) {
  const auto world = midpoints();
  retort::Rng rng(seed);
  std::vector<Sample> out;
  for (int i = 0; i < 90; ++i) {
    double u = rng.uniform_double();
    std::size_t at = 0;
    while (at + 1 < world.size() && u >= world[at].mass) u -= world[at++].mass;
    out.push_back({world[at].x + 0.1 * (rng.uniform_double() - 0.5), 1. / 90});
  }
  return out;
}
int joint_arrivals(const std::vector<Sample>& data, double budget, bool partition) {
  return arrivals(good, [&](Student& s) {
    if (budget < 0)
      for (int i = 0; i < 3000; ++i) student_step(s, data, {}, none, 0.1);
    else
      train_guide(s, data, {}, {.price = 10, .budget = budget, .partition = partition}, 1000, 0.1, 5);
  });
}
}  // namespace

int main(int argc, char** argv) {
  const Arguments a(argc, argv);
  experiment::print_header("disk_experiment_landscape", a);
  std::cout << std::fixed << std::setprecision(3);
  const auto world = midpoints();
  const double one = accuracy(world, {}, {2, 1}), two = accuracy(world, {}, {2, 5}), three = accuracy(world, {}, {5, 2});
  std::cout << "Accuracies at (2,1), (2,5), (5,2): " << one << ", " << two << ", " << three << '\n';
  ok("(1) 0.667 / 0.833 / 0.867 to 1e-3", std::abs(one - 0.667) < 1e-3 && std::abs(two - 0.833) < 1e-3 && std::abs(three - 0.867) < 1e-3);
  std::cout << std::setprecision(1);
  surfaces(world);
  const auto kd = basins(world, {}, none), helped = basins(world, {}, oracle);
  ok("(2) distillation has the three minima", share_near(kd, good) > 0.4 && share_near(kd, {2, 5}) > 0.2 && share_near(kd, {1.9, 1.2}) > 0.1);
  ok("(3) full help on I1 removes (2, 5) and widens the good basin from 45 to 70 %", share_near(helped, {2, 5}) == 0 && std::abs(share_near(helped, good) - 0.70) < 0.01);

  std::cout << "Guide trained at a student that sits at (a, w), mean gates:\n\n|form, budget|a, w|I1|gap|I2|rest|\n|---|---|---|---|---|---|\n" << std::setprecision(2);
  BinGuide frozen;
  std::array<double, 4> with{}, without{};
  for (bool partition : {false, true})
    for (Student start : {good, Student{2, 5}}) {
      const double budget = partition ? 0.3 : 0.1;
      Student s = start;
      const BinGuide guide = train_guide(s, world, {}, {.price = 10, .budget = budget, .partition = partition}, 1500, 0.1, 5);
      const auto m = mean_gates(guide);
      if (start.a > 4) (partition ? with : without) = m;
      if (start.a > 4 && partition) frozen = guide;
      std::cout << '|' << (partition ? "partition term, " : "poster, ") << budget << '|' << start.a << ", " << start.w << '|' << m[i1] << '|' << m[gap] << '|' << m[i2] << '|' << m[rest] << "|\n";
    }
  std::cout << '\n';
  ok("(4) with the partition term help goes to I1 alone (> 0.9, else < 0.1); without it the order inverts",
     with[i1] > 0.9 && with[gap] < 0.1 && with[i2] < 0.1 && with[rest] < 0.1 && without[i1] < 0.1 && without[rest] > 0.5);

  double mean = 0;
  for (const Sample& d : world) mean += d.mass * frozen(d.x);
  int reached[2][3];
  for (int k : {0, 1}) {
    const Shape shape{k ? 8. : 4., 0.1};
    const auto train = [&](auto help) {
      return arrivals(good, [&](Student& s) { for (int i = 0; i < 3000; ++i) student_step(s, world, shape, help, 0.1); });
    };
    reached[k][0] = train(none), reached[k][1] = train([mean](double) { return mean; }), reached[k][2] = train(frozen);
    std::cout << "k = " << shape.steepness << ", starts of 64 that end within 0.5 of (4.9, 2.2): distillation " << reached[k][0] << ", constant gate of equal mean "
              << reached[k][1] << ", that guide frozen " << reached[k][2] << '\n';
  }
  ok("(5) with the frozen guide more starts reach the good solution than without, at k = 4", reached[0][2] > reached[0][0]);

  const int sets = a.count("sets", 20);
  double best = 0;
  int best_count = -1;
  for (double budget : {0.06, 0.15, 0.3, 0.6}) {  // chosen on other samples
    int count = 0;
    for (std::uint64_t s = 1000; s < 1005; ++s) count += joint_arrivals(sampled(s), budget, true);
    if (count > best_count) best_count = count, best = budget;
  }
  std::vector<double> plain, joint;
  for (int s = 0; s < sets; ++s) {
    const auto data = sampled(static_cast<std::uint64_t>(s));
    plain.push_back(joint_arrivals(data, -1, false));
    joint.push_back(joint_arrivals(data, best, true));
  }
  std::vector<double> d;
  for (std::size_t i = 0; i < plain.size(); ++i) d.push_back(joint[i] - plain[i]);
  const double centre = retort::statistics::mean(d), half = 2.093 * retort::statistics::standard_deviation(d) / std::sqrt(static_cast<double>(d.size()));
  std::cout << "(6) student and guide in alternation from the grid, " << sets << " sampled sets of 90 points, budget " << best << " (chosen on 5 other sets): starts of 64 at the good solution: distillation "
            << retort::statistics::mean(plain) << ", DiSK " << retort::statistics::mean(joint) << ", difference " << centre << ", 95 % interval " << centre - half << " to "
            << centre + half << " (t with 19 degrees of freedom)\n";
}
