#pragma once
// What one wants to know of a classifier's logits. Pure functions of N x C logits (a view or a tensor, float or double)
// and N labels; sums run in double, in the order of the rows. All throw value_error for an empty set, for logits that are
// not finite and for a label outside [0, C), and shape_error when the arguments disagree in size.

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <retort/core/finite.hpp>
#include <retort/core/view.hpp>
#include <vector>

namespace retort::metrics {

/// A matrix of logits: View or Tensor of rank 2 over float or double.
template <class L>
concept Logits = requires { typename L::value_type; } && std::floating_point<typename L::value_type> &&
                 std::convertible_to<const L&, View<const typename L::value_type, 2>>;

using Labels = View<const std::int32_t, 1>;

namespace detail {

template <Logits L>
auto checked(const L& logits, const char* who) {
  const View<const typename L::value_type, 2> z = logits;
  require<value_error>(!z.empty(), who, ": empty logits ", to_string(z.shape));
  const index_t bad = first_not_finite(z);
  require<value_error>(bad < 0, who, ": the logit of row ", bad / z.extent(1), ", class ", bad % z.extent(1), " is not finite");
  return z;
}

template <Logits L>
auto checked(const L& logits, Labels labels, const char* who) {
  const auto z = checked(logits, who);
  require<shape_error>(labels.extent(0) == z.extent(0), who, ": logits ", to_string(z.shape), " but labels ",
                       to_string(labels.shape));
  for (index_t i = 0; i < labels.size(); ++i)
    require<value_error>(labels(i) >= 0 && labels(i) < z.extent(1), who, ": row ", i, " has label ", labels(i),
                         ", expected 0 to ", z.extent(1) - 1);
  return z;
}

template <class T>
index_t arg_max(const T* row, index_t classes) {
  return std::max_element(row, row + classes) - row;  // the first of equal ones
}

/// log(sum_c exp(z_c / temperature)).
template <class T>
double log_sum_exp(const T* row, index_t classes, double temperature = 1) {
  const double top = static_cast<double>(*std::max_element(row, row + classes));
  double sum = 0;
  for (index_t c = 0; c < classes; ++c) sum += std::exp((static_cast<double>(row[c]) - top) / temperature);
  return top / temperature + std::log(sum);
}

}  // namespace detail

/// Share of rows whose label is among the `k` largest logits, in [0, 1]. Of equal logits the lower class comes first.
/// Throws value_error when `k` is not in 1..C.
template <Logits L>
double top_k_accuracy(const L& logits, Labels labels, int k) {
  const auto z = detail::checked(logits, labels, "top_k_accuracy");
  const index_t classes = z.extent(1);
  require<value_error>(k >= 1 && k <= classes, "top_k_accuracy: expected k from 1 to ", classes, ", got ", k);
  index_t hits = 0;
  for (index_t i = 0; i < z.extent(0); ++i) {
    const auto* row = z.row(i);
    const index_t y = labels(i);
    index_t ahead = 0;
    for (index_t c = 0; c < classes; ++c) ahead += row[c] > row[y] || (row[c] == row[y] && c < y);
    hits += ahead < k;
  }
  return static_cast<double>(hits) / static_cast<double>(z.extent(0));
}

/// Share of rows whose largest logit is the label's, in [0, 1].
template <Logits L>
double accuracy(const L& logits, Labels labels) {
  return top_k_accuracy(logits, labels, 1);
}

/// Hits and samples of one class.
struct ClassAccuracy {
  index_t correct = 0, total = 0;
  /// In [0, 1]; 0 for a class without samples.
  double accuracy() const { return total ? static_cast<double>(correct) / static_cast<double>(total) : 0; }
};

/// Accuracy by class of the label: one entry per column of the logits.
template <Logits L>
std::vector<ClassAccuracy> per_class_accuracy(const L& logits, Labels labels) {
  const auto z = detail::checked(logits, labels, "per_class_accuracy");
  std::vector<ClassAccuracy> out(static_cast<std::size_t>(z.extent(1)));
  for (index_t i = 0; i < z.extent(0); ++i) {
    ClassAccuracy& own = out[static_cast<std::size_t>(labels(i))];
    ++own.total;
    own.correct += detail::arg_max(z.row(i), z.extent(1)) == labels(i);
  }
  return out;
}

/// Mean of -log p(label), in nats.
template <Logits L>
double negative_log_likelihood(const L& logits, Labels labels) {
  const auto z = detail::checked(logits, labels, "negative_log_likelihood");
  double sum = 0;
  for (index_t i = 0; i < z.extent(0); ++i)
    sum += detail::log_sum_exp(z.row(i), z.extent(1)) - static_cast<double>(z(i, labels(i)));
  return sum / static_cast<double>(z.extent(0));
}

/// Expected calibration error (Guo et al., ICML 2017, eq. 5): samples go by their confidence (largest probability) into
/// `bins` bins ((m-1)/bins, m/bins]; the mean over the samples of |accuracy - mean confidence| of their bin. In [0, 1].
/// Throws value_error when `bins` < 1.
template <Logits L>
double expected_calibration_error(const L& logits, Labels labels, int bins = 15) {
  const auto z = detail::checked(logits, labels, "expected_calibration_error");
  require<value_error>(bins >= 1, "expected_calibration_error: expected at least 1 bin, got ", bins);
  std::vector<double> excess(static_cast<std::size_t>(bins));  // sum of (hit - confidence) by bin
  for (index_t i = 0; i < z.extent(0); ++i) {
    const auto* row = z.row(i);
    const index_t guess = detail::arg_max(row, z.extent(1));
    const double confidence = std::exp(static_cast<double>(row[guess]) - detail::log_sum_exp(row, z.extent(1)));
    const int bin = std::clamp(static_cast<int>(std::ceil(confidence * bins)) - 1, 0, bins - 1);
    excess[static_cast<std::size_t>(bin)] += (guess == labels(i)) - confidence;
  }
  double sum = 0;
  for (const double e : excess) sum += std::abs(e);
  return sum / static_cast<double>(z.extent(0));
}

/// Share of rows in which two nets name the same class (Stanton et al., NeurIPS 2021, eq. 5: top-1 agreement).
template <Logits A, Logits B>
double agreement(const A& teacher, const B& student) {
  const auto t = detail::checked(teacher, "agreement"), s = detail::checked(student, "agreement");
  require<shape_error>(t.shape == s.shape, "agreement: teacher logits ", to_string(t.shape), ", student logits ",
                       to_string(s.shape));
  index_t same = 0;
  for (index_t i = 0; i < t.extent(0); ++i)
    same += detail::arg_max(t.row(i), t.extent(1)) == detail::arg_max(s.row(i), s.extent(1));
  return static_cast<double>(same) / static_cast<double>(t.extent(0));
}

/// Mean over the rows of KL(teacher || student) between the softmaxes at `temperature`, in nats (Stanton et al., NeurIPS
/// 2021, eq. 6). Never negative; without the factor T^2 of the training loss. Throws value_error unless temperature > 0.
template <Logits A, Logits B>
double fidelity_kl(const A& teacher, const B& student, double temperature = 1) {
  const auto t = detail::checked(teacher, "fidelity_kl"), s = detail::checked(student, "fidelity_kl");
  require<shape_error>(t.shape == s.shape, "fidelity_kl: teacher logits ", to_string(t.shape), ", student logits ",
                       to_string(s.shape));
  require<value_error>(temperature > 0 && is_finite(temperature), "fidelity_kl: expected a positive temperature, got ", temperature);
  const index_t classes = t.extent(1);
  double sum = 0;
  for (index_t i = 0; i < t.extent(0); ++i) {
    const double t_norm = detail::log_sum_exp(t.row(i), classes, temperature);
    const double s_norm = detail::log_sum_exp(s.row(i), classes, temperature);
    double row = 0;
    for (index_t c = 0; c < classes; ++c) {
      const double log_p = static_cast<double>(t(i, c)) / temperature - t_norm;
      const double log_q = static_cast<double>(s(i, c)) / temperature - s_norm;
      row += std::exp(log_p) * (log_p - log_q);
    }
    sum += std::max(row, 0.0);  // rounding may leave -1e-17 for equal rows
  }
  return sum / static_cast<double>(t.extent(0));
}

}  // namespace retort::metrics
