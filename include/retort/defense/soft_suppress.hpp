#pragma once

#include <limits>
#include <memory>
#include <retort/censor/none.hpp>
#include <retort/defense/vaccine.hpp>
#include <retort/method/distiller.hpp>

namespace retort::defense {

struct SuppressOptions {
  double lambda = 0.1;  ///< 0 drops suspicious samples, above 0 unlearns the teacher's answer on them
  teacher::ShuffleOptions shuffle{};
  double until = late_phase;  ///< share of the run after which nothing is suppressed; 1: never
  std::uint64_t seed = 0;     ///< of the permutations
  /// A suspicious row is unlearned until KL(T || S) (temperature 1) reaches this many times KL(T || uniform): at 1, until the
  /// student knows no more of the teacher's answer than chance does. As published there is no end to it, and the loss, minus a
  /// divergence, has no minimum: see benchmarks/results/abd.md for what that costs.
  double bound = std::numeric_limits<double>::infinity();
  SelectionOptions selection{};  ///< of `SoftSuppress::select`
};

/// The Shuffling Vaccine as a censor: ABD's form for batches that are not synthesised (out-of-distribution images); over a
/// generator's batches it leaves the generator alone and works without ShufflingVaccine.
/// L = mean over kept rows of l_i - lambda * mean over suspicious rows of l_i, by signed per-sample weights. Wraps the
/// method's own censor, whose weights it multiplies, and leaves everything else of it alone. Use it with a loss that
/// averages over the batch (KlMean, KlBatch). A batch in which no row is kept counts with weights 0, and is counted.
/// Without `select` the first permutation acts untested.
template <class TeacherArchitecture, class Inner = censor::None, class Backend = Cpu>
class SoftSuppress : public Inner {
 public:
  using role = retort::role::censor;
  using network_type = Network<TeacherArchitecture, Backend>;
  template <class B2>
  using rebind = SoftSuppress<TeacherArchitecture, rebound<Inner, B2>, B2>;

  SoftSuppress(network_type& teacher, SuppressOptions options = {}, Inner inner = {})
      : Inner(std::move(inner)), options(options),
        shuffled_(std::make_unique<teacher::Shuffled<TeacherArchitecture, Backend>>(teacher, options.shuffle, Rng(options.seed))) {}

  SuppressOptions options;

  teacher::Shuffled<TeacherArchitecture, Backend>& shuffled() { return *shuffled_; }
  /// ABD's selection on images like those that the student will see, any Dataset of the teacher's inputs; labels are not
  /// looked at. Where it rejects all permutations nothing is suppressed: rely on self-retrospection.
  template <class Data>
  const VaccineOutcome& select(const Data& images, context_of<Backend>& backend) {
    const auto score = [&](std::vector<double>& scores) { score_images(*shuffled_, images, backend, scores); };
    select_vaccine(*shuffled_, Rng(options.seed), options.selection, score, outcome_);
    return outcome_;
  }
  const VaccineOutcome& outcome() const { return outcome_; }
  index_t batches_without_kept() const { return without_kept_; }

  template <class E>
  void apply(E& ex) {
    Inner::apply(ex);
    const bool off = outcome_.verdict == VaccineOutcome::Verdict::rejected;
    if (off || ex.turn != Block::student || (ex.progress.epochs > 0 && ex.progress.position >= options.until * ex.progress.epochs)) return;
    auto& tape = ex.tape;
    const auto t = result_of(ex.teacher);
    using T = typename decltype(t)::value_type;
    using B = context_of<Backend>;
    const index_t n = t.extent(0);
    const auto [mask, suspicious] = [&] {
      NoGrad off(tape);
      auto pass = Pass<T, B>::frozen(tape);
      return suspicious_rows(tape, t.value, shuffled_->answer(pass, Question<decltype(ex.input)>{ex.input, ex.ids, ex.turn}).value);
    }();
    const auto marked = tape.on_host(mask);
    const auto teacher = tape.on_host(t.value), student = tape.on_host(result_of(ex.student).value);
    const auto given = tape.on_host(ex.weights);
    ex.weights = tape.from_host(Shape<1>{n}, [&](View<T, 1> weights) {
      suppress(marked, options.lambda, weights);
      if (options.bound < std::numeric_limits<double>::infinity())
        for (index_t i = 0; i < n; ++i)
          if (marked.data[i] && divergence<T>(teacher, student, i) >= options.bound * divergence<T>(teacher, {}, i)) weights.data[i] = 0;
      if (!given.empty())
        for (index_t i = 0; i < n; ++i) weights.data[i] *= given.data[i];
    });
    outcome_.mask_rate = static_cast<double>(suspicious) / static_cast<double>(n);
    without_kept_ += suspicious == n;
  }
  /// N / kept on kept rows, -lambda N / suspicious on the others; all 0 where none is kept. (The loss divides by N.)
  template <class T>
  static void suppress(View<const std::uint8_t, 1> mask, double lambda, View<T, 1> weights) {
    const auto n = static_cast<double>(mask.size());
    const auto suspicious = static_cast<double>(std::count_if(mask.begin(), mask.end(), [](auto m) { return m != 0; }));
    for (index_t i = 0; i < mask.size(); ++i)
      weights.data[i] = suspicious == n ? T(0) : static_cast<T>(mask.data[i] ? -lambda * n / suspicious : n / (n - suspicious));
  }
  std::string describe() const {
    const std::string inner = Inner::describe();
    return (inner.empty() ? "" : inner + ", ") + "soft suppression by " + shuffled_->describe();
  }

 private:
  std::unique_ptr<teacher::Shuffled<TeacherArchitecture, Backend>> shuffled_;
  index_t without_kept_ = 0;
  VaccineOutcome outcome_{.verdict = VaccineOutcome::Verdict::untested};
};

}  // namespace retort::defense
