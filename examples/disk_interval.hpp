#pragma once
// The one-dimensional world of DiSK's poster. Points x in [0, 9] are of class one on I1 = [2, 3] and I2 = [5, 7]; the
// student is a single soft interval of left end a and width w, so it cannot have both. The teacher's targets are hard.

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace interval {

enum Region { i1, gap, i2, rest };
inline Region region_of(double x) { return x >= 2 && x < 3 ? i1 : x >= 3 && x < 5 ? gap : x >= 5 && x < 7 ? i2 : rest; }
inline bool positive(double x) { return region_of(x) == i1 || region_of(x) == i2; }

/// A point with its share of the probability, and the help it gets.
struct Sample {
  double x, mass;
};
/// 90 midpoints; masses 4/30 on I1, 5/30 on the gap, 10/30 on I2 and 11/30 elsewhere, constant in each region.
inline std::vector<Sample> midpoints() {
  constexpr double mass[] = {4. / 30, 5. / 30, 10. / 30, 11. / 30};
  constexpr int points[] = {10, 20, 20, 40};
  std::vector<Sample> out;
  for (int i = 0; i < 90; ++i) {
    const double x = 0.1 * (i + 0.5);
    out.push_back({x, mass[region_of(x)] / points[region_of(x)]});
  }
  return out;
}

struct Student {
  double a, w;
};
struct Shape {
  double steepness = 4, floor = 0.1;  ///< k and epsilon
};
/// p1(x) = floor + (1 - 2 floor) * sigmoid(k (x - a)) * sigmoid(k (a + w - x)), and its derivatives by a and w.
struct Probability {
  double one, by_a, by_w;
};
inline double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }
inline Probability evaluate(const Shape& shape, Student s, double x) {
  const double left = sigmoid(shape.steepness * (x - s.a)), right = sigmoid(shape.steepness * (s.a + s.w - x));
  const double top = (1 - 2 * shape.floor) * left * right;
  return {shape.floor + top, shape.steepness * top * (left - right), shape.steepness * top * (1 - right)};
}
inline double accuracy(const std::vector<Sample>& data, const Shape& shape, Student s) {
  double right = 0;
  for (const Sample& d : data) right += (evaluate(shape, s, d.x).one > 0.5) == positive(d.x) ? d.mass : 0;
  return right;
}

/// sum of mass * -log(p_y + g), and its gradient.
struct Slope {
  double value = 0, by_a = 0, by_w = 0;
};
template <class Help>
Slope loss(const std::vector<Sample>& data, const Shape& shape, Student s, Help&& help) {
  Slope out;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const Probability p = evaluate(shape, s, data[i].x);
    const double sign = positive(data[i].x) ? 1 : -1, py = sign > 0 ? p.one : 1 - p.one, helped = py + help(data[i].x);
    out.value -= data[i].mass * std::log(helped);
    out.by_a -= data[i].mass * sign * p.by_a / helped;
    out.by_w -= data[i].mass * sign * p.by_w / helped;
  }
  return out;
}

/// A minimum of a surface over the 91 x 91 grid of (a, w), and the share of grid points that roll into it.
struct Basin {
  double a, w, share, value;
};
/// Each point moves to the lowest of its eight neighbours while that is lower.
template <class Help>
std::vector<Basin> basins(const std::vector<Sample>& data, const Shape& shape, Help&& help) {
  constexpr int n = 91;
  std::vector<double> surface(n * n);
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) surface[static_cast<std::size_t>(i * n + j)] = loss(data, shape, {0.1 * i, 0.1 * j}, help).value;
  std::vector<int> ends(n * n);
  for (int start = 0; start < n * n; ++start) {
    int at = start;
    for (bool moved = true; moved;) {
      moved = false;
      const int i = at / n, j = at % n;
      int best = at;
      for (int k = std::max(0, i - 1); k <= std::min(n - 1, i + 1); ++k)
        for (int l = std::max(0, j - 1); l <= std::min(n - 1, j + 1); ++l)
          if (surface[static_cast<std::size_t>(k * n + l)] < surface[static_cast<std::size_t>(best)]) best = k * n + l;
      moved = best != at;
      at = best;
    }
    ++ends[static_cast<std::size_t>(at)];
  }
  std::vector<Basin> out;
  for (int at = 0; at < n * n; ++at)
    if (const int count = ends[static_cast<std::size_t>(at)])
      out.push_back({0.1 * (at / n), 0.1 * (at % n), static_cast<double>(count) / (n * n), surface[static_cast<std::size_t>(at)]});
  std::sort(out.begin(), out.end(), [](const Basin& p, const Basin& q) { return p.share > q.share; });
  return out;
}
inline double share_near(const std::vector<Basin>& basins, Student s, double distance = 0.3) {
  double share = 0;
  for (const Basin& b : basins)
    if (std::hypot(b.a - s.a, b.w - s.w) < distance) share += b.share;
  return share;
}

/// A guide without a network: one gate for each of 18 bins of width 0.5, sigmoid of a free number.
struct BinGuide {
  std::array<double, 18> logit{};
  static std::size_t bin(double x) { return std::min<std::size_t>(17, static_cast<std::size_t>(2 * x)); }
  double operator()(double x) const { return sigmoid(logit[bin(x)]); }
};
/// What the guide minimises beside the hint: price * max(0, B - budget), and mean log(1 + 2g) where `partition`.
struct Price {
  double price = 10, budget = 0.3;
  bool partition = true;
};
/// One gradient step of the guide; the charge is min(-log p_y, 5).
inline void guide_step(BinGuide& guide, const std::vector<Sample>& data, const Shape& shape, Student s, const Price& price, double lr) {
  std::array<double, 18> gradient{}, charge{};
  double used = 0;
  for (const Sample& d : data) {
    const std::size_t b = BinGuide::bin(d.x);
    const double g = guide(d.x), one = evaluate(shape, s, d.x).one, py = positive(d.x) ? one : 1 - one;
    const double ce = std::min(5., -std::log(py)), slope = g * (1 - g);
    used += d.mass * g * ce;
    charge[b] += d.mass * ce * slope;
    gradient[b] -= d.mass * slope / (py + g);
    if (price.partition) gradient[b] += d.mass * slope * 2 / (1 + 2 * g);
  }
  for (std::size_t b = 0; b < 18; ++b)
    guide.logit[b] -= lr * (gradient[b] + (used > price.budget ? price.price * charge[b] : 0));
}
template <class Help>
void student_step(Student& s, const std::vector<Sample>& data, const Shape& shape, Help&& help, double lr) {
  const Slope g = loss(data, shape, s, help);
  s.a -= lr * g.by_a;
  s.w -= lr * g.by_w;
}

/// Mean gates by region.
inline std::array<double, 4> mean_gates(const BinGuide& guide) {
  std::array<double, 4> sum{}, count{};
  for (const Sample& d : midpoints()) sum[region_of(d.x)] += guide(d.x), ++count[region_of(d.x)];
  for (std::size_t r = 0; r < 4; ++r) sum[r] /= count[r];
  return sum;
}
/// Trains guide and student in alternation, three steps each, from a student's position.
inline BinGuide train_guide(Student& s, const std::vector<Sample>& data, const Shape& shape, const Price& price, int rounds, double student_lr,
                            double guide_lr) {
  BinGuide guide;
  for (int round = 0; round < rounds; ++round) {
    for (int i = 0; i < 3; ++i) student_step(s, data, shape, guide, student_lr);
    for (int i = 0; i < 3; ++i) guide_step(guide, data, shape, s, price, guide_lr);
  }
  return guide;
}
/// How many of the 8 x 8 cell-centred starts end within 0.5 of `goal`; `train` moves a student from its start.
template <class Train>
int arrivals(Student goal, Train&& train) {
  int count = 0;
  for (int i = 0; i < 64; ++i) {
    Student s{(i / 8 + 0.5) * 9 / 8, (i % 8 + 0.5) * 9 / 8};
    train(s);
    count += std::hypot(s.a - goal.a, s.w - goal.w) < 0.5;
  }
  return count;
}

}  // namespace interval
