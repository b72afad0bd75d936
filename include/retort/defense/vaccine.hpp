#pragma once
// The parts of ABD's Shuffling Vaccine that both of its forms share.

#include <cmath>
#include <retort/autograd/ops_loss.hpp>
#include <retort/data/gather.hpp>
#include <retort/loss/kl_mean.hpp>
#include <retort/predict/logits.hpp>
#include <retort/source/synthesis.hpp>
#include <retort/teacher/shuffled.hpp>

namespace retort {

/// Architecture and backend of the network that a teacher or student policy refers to.
template <class Policy>
using architecture_of = typename Policy::network_type::architecture_type;

namespace defense {

/// Where a run is late enough for self-retrospection, and where the vaccine steps back: 1 - 2 % of the run.
inline constexpr double late_phase = 0.98;

/// mask[i] = 1 where teacher and shuffled teacher name the same class: a shortcut that survived the shuffling. Returns how many.
template <class T>
index_t suspicion(View<const T, 2> teacher, View<const T, 2> shuffled, View<std::uint8_t, 1> mask) {
  require<shape_error>(teacher.shape == shuffled.shape && mask.size() == teacher.extent(0), "defense::suspicion: teacher logits ",
                       to_string(teacher.shape), ", shuffled ", to_string(shuffled.shape), ", room for ", mask.size());
  index_t count = 0;
  const auto best = [](View<const T, 2> z, index_t i) { return std::max_element(z.row(i), z.row(i) + z.extent(1)) - z.row(i); };
  for (index_t i = 0; i < mask.size(); ++i) count += mask.data[i] = best(teacher, i) == best(shuffled, i);
  return count;
}

/// The mask in the tape's memory, and how many it holds.
template <class T, class B>
std::pair<View<const std::uint8_t, 1>, index_t> suspicious_rows(Tape<T, B>& tape, View<const T, 2> teacher, View<const T, 2> shuffled) {
  const auto t = tape.on_host(teacher), s = tape.on_host(shuffled);
  index_t count = 0;
  const auto mask = tape.template from_host<std::uint8_t>(Shape<1>{t.extent(0)}, [&](View<std::uint8_t, 1> m) { count = suspicion(t, s, m); });
  return {mask, count};
}

/// R(x) = sum_i m_i KL(softmax t_i || softmax t~_i) / C / sum_i m_i, the mask constant, gradients to both logits; 0 without
/// gradient where the mask is empty. `loss::Masked` divides by N, hence the factor.
template <class T, class B>
Var<T, 1> vaccine_penalty(Tape<T, B>& tape, Var<T, 2> teacher, Var<T, 2> shuffled, View<const std::uint8_t, 1> mask, index_t suspicious) {
  if (suspicious == 0) {
    const View<T, 1> zero = tape.allocate(Shape<1>{1});
    Kernels<B>::fill(tape.backend(), T(0), zero);
    return tape.constant(zero);
  }
  const double weight = static_cast<double>(mask.size()) / static_cast<double>(suspicious);
  return row_loss(tape, loss::Masked{loss::KlMean{.weight = weight}},
                  RowLossInputs<T>{.student = shuffled, .teacher = teacher, .mask = mask});
}

/// KL(softmax t || softmax s) of row i, in nats; without `student` of the uniform distribution instead of softmax s.
template <class T>
double divergence(View<const T, 2> teacher, View<const T, 2> student, index_t i) {
  const index_t classes = teacher.extent(1);
  const auto log_sum = [&](const T* z) {
    const double top = static_cast<double>(*std::max_element(z, z + classes));
    double sum = 0;
    for (index_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(z[c]) - top);
    return top + std::log(sum);
  };
  const double lt = log_sum(teacher.row(i)), ls = student.data ? log_sum(student.row(i)) : std::log(static_cast<double>(classes));
  double kl = 0;
  for (index_t c = 0; c < classes; ++c) {
    const double lp = static_cast<double>(teacher(i, c)) - lt, lq = (student.data ? static_cast<double>(student(i, c)) : 0.0) - ls;
    kl += std::exp(lp) * (lp - lq);
  }
  return kl;
}

/// log10(KL(softmax t || softmax t~) / C) of each row; a KL of 0 counts as 1e-30.
template <class T>
void vaccine_scores(View<const T, 2> teacher, View<const T, 2> shuffled, std::vector<double>& out) {
  for (index_t i = 0; i < teacher.extent(0); ++i)
    out.push_back(std::log10(std::max(divergence(teacher, shuffled, i) / static_cast<double>(teacher.extent(1)), 1e-30)));
}

/// Share of the scores below mean - sigmas * deviation (of the population). 0.00135 at 3 sigmas if they are normal.
inline double tail_fraction(std::span<const double> scores, double sigmas = 3) {
  require<value_error>(!scores.empty(), "defense::tail_fraction: no scores");
  const auto n = static_cast<double>(scores.size());
  double mean = 0, square = 0;
  for (const double a : scores) mean += a / n;
  for (const double a : scores) square += (a - mean) * (a - mean) / n;
  const double bound = mean - sigmas * std::sqrt(square);
  return static_cast<double>(std::count_if(scores.begin(), scores.end(), [=](double a) { return a < bound; })) / n;
}

/// vaccine_scores of a data set's images; returns how many are suspicious.
template <class Architecture, class Backend, class Data>
index_t score_images(teacher::Shuffled<Architecture, Backend>& shuffled, const Data& data, context_of<Backend>& backend, std::vector<double>& scores) {
  using T = scalar_of<Backend>;
  const auto t = predict_logits(shuffled.original(), data, backend);
  const auto s = predict_logits<T>(backend, data, [&](auto& pass, const auto& batch) { return shuffled.answer(pass, batch); });
  Tensor<std::uint8_t, 1> mask(Shape{t.extent(0)});
  vaccine_scores(View<const T, 2>(t.view()), View<const T, 2>(s.view()), scores);
  return suspicion(View<const T, 2>(t.view()), View<const T, 2>(s.view()), mask.view());
}

/// ABD's test of a permutation: is there a tail of images on which teacher and shuffled teacher agree far more than on the rest?
struct SelectionOptions {
  double tail = 0.02, sigmas = 3;  ///< a proper vaccine when more than this share of scores lies below mean - sigmas * deviation
  int trials = 8;                  ///< permutations tried
  bool best = false;               ///< where none passes: true takes the one with the largest tail, false (ABD) none
};

/// What the selection found.
struct VaccineOutcome {
  enum class Verdict { collecting, untested, accepted, best, rejected } verdict = Verdict::collecting;
  int trials = 0;
  double tail = 0;       ///< of the permutation that is set
  double mask_rate = 0;  ///< share of suspicious samples in the last batch
};

/// Draws permutations, each a function of `stream`, until one passes the test or the trials are spent; `score(out)` appends
/// the `vaccine_scores` of the images under the permutation that is set. Sets verdict, trials and tail of `outcome`.
template <class Shuffled, class Score>
void select_vaccine(Shuffled& shuffled, const Rng& stream, const SelectionOptions& options, Score&& score, VaccineOutcome& outcome) {
  const auto draw = [&](int trial) { shuffled.shuffle(stream.fork(static_cast<std::uint64_t>(trial))); };
  std::vector<double> scores;
  double largest = -1;
  int at = 0;
  for (int trial = 0; trial < std::max(options.trials, 1); ++trial) {
    draw(trial);
    scores.clear();
    score(scores);
    const double tail = tail_fraction(scores, options.sigmas);
    outcome = {VaccineOutcome::Verdict::rejected, trial + 1, tail, outcome.mask_rate};
    if (tail > options.tail) return void(outcome.verdict = VaccineOutcome::Verdict::accepted);
    if (tail > largest) largest = tail, at = trial;
  }
  if (!options.best) return;
  draw(at);
  outcome.verdict = VaccineOutcome::Verdict::best;
  outcome.tail = largest;
}

/// Whether shuffling tells images with a trigger from images without, on a teacher whose trigger is known.
struct BackdoorReport {
  double clean_rate = 0, stamped_rate = 0;  ///< share that the shuffled teacher calls suspicious, in [0, 1]
  /// Chance that a stamped image has a lower KL(T || T~) than a clean one (the area under the ROC curve). About 0.5: the
  /// backdoor does not run through few channels, and the vaccine cannot work on this network.
  double separation = 0;
};
template <class Architecture, class Backend, class Data>
BackdoorReport backdoor_report(teacher::Shuffled<Architecture, Backend>& shuffled, const Data& clean, const Data& stamped,
                               context_of<Backend>& backend) {
  const auto score = [&](const Data& data, std::vector<double>& scores) {
    return static_cast<double>(score_images(shuffled, data, backend, scores)) / static_cast<double>(data.size());
  };
  std::vector<double> without, with;
  BackdoorReport out{score(clean, without), score(stamped, with), 0};
  std::sort(without.begin(), without.end());
  for (const double a : with) {  // clean scores above, equal ones half
    const auto [first, last] = std::equal_range(without.begin(), without.end(), a);
    out.separation += static_cast<double>(without.end() - last) + static_cast<double>(last - first) / 2;
  }
  out.separation /= static_cast<double>(with.size()) * static_cast<double>(without.size());
  return out;
}

}  // namespace defense
}  // namespace retort
