#pragma once
// A batch of logits, labels and per-row numbers with memory for every result, and a short way to evaluate a loss on it.

#include <cmath>
#include <retort/backend/cpu_row_loss.hpp>
#include <retort/core/rng.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/hinton_loss.hpp>
#include <retort/loss/jensen_shannon.hpp>
#include <retort/loss/logit_distance.hpp>
#include <retort/loss/reverse_kl.hpp>
#include <vector>

namespace retort::test {

/// Relative tolerance of a loss value computed in T, and of the largest entry of a gradient.
template <class T>
inline constexpr double value_tolerance = sizeof(T) == 4 ? 1e-5 : 1e-9;
template <class T>
inline constexpr double gradient_tolerance = sizeof(T) == 4 ? 1e-5 : 1e-9;
/// Central differences in double, relative to the largest entry of the gradient.
inline constexpr double difference_tolerance = 1e-7;

template <class T>
struct Problem {
  index_t rows, classes, extras_per_row = 0;
  std::vector<T> student, teacher, weight, temperature, extras;
  std::vector<std::int32_t> labels;
  std::vector<std::uint8_t> mask;
  std::vector<T> d_student, d_teacher, d_temperature, d_extras, per_row;

  Problem(index_t n, index_t c, std::uint64_t seed = 1) : rows(n), classes(c) {
    Rng rng(seed);
    const auto size = static_cast<std::size_t>(n * c);
    student.resize(size);
    teacher.resize(size);
    d_student.assign(size, T(77));  // results replace what is there
    d_teacher.assign(size, T(77));
    for (T& z : student) z = static_cast<T>(1.5 * rng.normal());
    for (T& t : teacher) t = static_cast<T>(2 * rng.normal());
    for (index_t r = 0; r < n; ++r) labels.push_back(static_cast<std::int32_t>(rng.next_u32() % static_cast<std::uint32_t>(c)));
    d_temperature.assign(static_cast<std::size_t>(n), T(77));
    per_row.assign(static_cast<std::size_t>(n), T(77));
  }
  void set_extras(index_t per) {
    extras_per_row = per;
    extras.resize(static_cast<std::size_t>(rows * per));
    d_extras.assign(extras.size(), T(77));
  }

  RowBatch<T> batch() const {
    const auto one = [this](const auto& v) {
      using E = std::remove_reference_t<decltype(v[0])>;
      return v.empty() ? View<E, 1>{} : View<E, 1>{v.data(), {rows}};
    };
    RowBatch<T> b;
    b.student = {student.data(), {rows, classes}};
    if (!teacher.empty()) b.teacher = {teacher.data(), {rows, classes}};
    b.labels = one(labels);
    b.mask = one(mask);
    b.weight = one(weight);
    b.temperature = one(temperature);
    if (!extras.empty()) b.extras = {extras.data(), {rows, extras_per_row}};
    return b;
  }

  template <class Loss>
  double value(const Loss& loss, Cpu& cpu) const {
    return double(cpu::RowLossKernels::row_loss(cpu, loss, batch(), RowGradients<T>{}));
  }
  template <class Loss>
  double value(const Loss& loss) const {
    Cpu cpu;
    return value(loss, cpu);
  }
  /// Value and the gradient to the student, and where asked all the others.
  template <class Loss>
  double evaluate(const Loss& loss, Cpu& cpu, bool all = false) {
    RowGradients<T> g;
    g.student = {d_student.data(), {rows, classes}};
    if (all) {
      g.teacher = {d_teacher.data(), {rows, classes}};
      g.temperature = {d_temperature.data(), {rows}};
      g.per_row = {per_row.data(), {rows}};
      if (!extras.empty()) g.extras = {d_extras.data(), {rows, extras_per_row}};
    }
    return double(cpu::RowLossKernels::row_loss(cpu, loss, batch(), g));
  }
  template <class Loss>
  double evaluate(const Loss& loss, bool all = false) {
    Cpu cpu;
    return evaluate(loss, cpu, all);
  }
};

template <class T>
double norm(const std::vector<T>& v) {
  double s = 0;
  for (T x : v) s += double(x) * double(x);
  return std::sqrt(s);
}
template <class A, class B>
double max_difference(const std::vector<A>& a, const std::vector<B>& b) {
  double m = 0;
  for (std::size_t i = 0; i < a.size(); ++i) m = std::max(m, std::abs(double(a[i]) - double(b[i])));
  return m;
}
template <class T>
double max_abs(const std::vector<T>& v) {
  return max_difference(v, std::vector<T>(v.size()));
}

/// Largest error of `gradient` against central differences of f() in the entries of x, relative to the largest entry.
template <class F>
double difference_error(std::vector<double>& x, const std::vector<double>& gradient, F&& f) {
  double worst = 0, scale = max_abs(gradient);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double at = x[i], h = 2e-5;
    const auto central = [&](double step) {
      x[i] = at + step;
      const double up = f();
      x[i] = at - step;
      const double down = f();
      x[i] = at;
      return (up - down) / (2 * step);
    };
    const double slope = (4 * central(h) - central(2 * h)) / 3;  // Richardson: the error is of fourth order
    worst = std::max(worst, std::abs(slope - gradient[i]));
    scale = std::max(scale, std::abs(slope));
  }
  return worst / std::max(scale, 1e-12);
}

/// The README's loss of one's own.
struct LogitMatching {
  float weight = 1.f;
  struct Acc { float s = 0; };
  RETORT_HD Acc   identity() const { return {}; }
  RETORT_HD Acc   add(Acc a, retort::Cell c) const { float d = c.z - c.t; a.s += d * d; return a; }
  RETORT_HD Acc   merge(Acc a, Acc b) const { return {a.s + b.s}; }
  RETORT_HD float value(Acc a) const { return 0.5f * weight * a.s; }
  RETORT_HD float grad(Acc, retort::Cell c) const { return weight * (c.z - c.t); }
};

}  // namespace retort::test
