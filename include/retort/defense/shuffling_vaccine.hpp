#pragma once

#include <memory>
#include <retort/core/state.hpp>
#include <retort/defense/vaccine.hpp>

namespace retort::defense {

struct VaccineOptions {
  double lambda = 0.1;              ///< weight of R(x); tuned to KL / C
  teacher::ShuffleOptions shuffle{};
  bool shuffled_gradient = true;    ///< gradients reach the images through the shuffled teacher too
  double until = late_phase;        ///< share of the run after which the vaccine rests; 1: never
  int pseudo_test_batches = 50;     ///< collected for the selection before the vaccine acts; 0: no test, act at once
  int skipped_batches = 11;         ///< of these, while the source is still unformed
  SelectionOptions selection{};     ///< where it finds no vaccine, none acts
};

/// The Shuffling Vaccine of ABD (Hong et al. 2023) around any source that synthesises: L <- L - lambda R(x), which raises
/// the divergence between teacher and shuffled teacher where both name the same class, so that synthesis leaves the
/// backdoor's inputs. The source itself is unchanged: its State's `take_turn` takes the term as its last argument.
/// The selection uses synthetic batches alone. Throws what teacher::Shuffled throws.
template <class Source, class TeacherArchitecture, class Backend = Cpu>
class ShufflingVaccine {
  static_assert(Source::needs_input_gradient,
                "retort: defense::ShufflingVaccine works on sources that synthesise by gradients; for others censor the student's "
                "turn with defense::SoftSuppress; see retort/defense/shuffling_vaccine.hpp");

 public:
  using role = retort::role::source;
  using network_type = Network<TeacherArchitecture, Backend>;
  static constexpr bool needs_input_gradient = true;
  template <class B2>
  using rebind = ShufflingVaccine<typename Source::template rebind<B2>, TeacherArchitecture, B2>;

  ShufflingVaccine(Source inner, network_type& teacher, VaccineOptions options = {})
      : options(options), inner_(std::move(inner)), shuffled_(std::make_unique<teacher::Shuffled<TeacherArchitecture, Backend>>(teacher, options.shuffle)) {}

  VaccineOptions options;

  Source& inner() { return inner_; }
  teacher::Shuffled<TeacherArchitecture, Backend>& shuffled() { return *shuffled_; }
  const VaccineOutcome& outcome() const { return outcome_; }
  void plan(const Progress& progress, Plan& plan) const {
    if constexpr (requires { inner_.plan(progress, plan); }) inner_.plan(progress, plan);
  }
  std::string describe() const { return inner_.describe() + ", shuffling vaccine of " + shuffled_->describe(); }

  template <class T, class B, class Data>
  class State {
    using inner_state = typename Source::template State<T, B, Data>;
    using Verdict = VaccineOutcome::Verdict;

   public:
    using batch_type = typename inner_state::batch_type;

    State(ShufflingVaccine& policy, const Setup<B>& setup, const Data& data)
        : policy_(&policy), seed_(setup.seed), inner_(policy.inner(), setup, data), tape_(setup.backend) {
      require<value_error>(policy.options.pseudo_test_batches == 0 || policy.options.pseudo_test_batches > policy.options.skipped_batches,
                           "defense::ShufflingVaccine: of ", policy.options.pseudo_test_batches, " batches ", policy.options.skipped_batches,
                           " are skipped: nothing is left to test");
      policy.outcome_ = {};
      if (policy.options.pseudo_test_batches == 0) policy.outcome_.verdict = Verdict::untested;
      policy.shuffled_->shuffle(draws().fork(0));
    }
    index_t batches() const { return inner_.batches(); }
    void begin(std::uint64_t pass) { inner_.begin(pass); }
    bool next(batch_type& batch) { return inner_.next(batch); }

    template <class Method>
    double take_turn(Method& method, Tape<T, B>& tape, batch_type& batch, const Progress& progress, const Rng& rng) {
      auto& outcome = policy_->outcome_;
      const auto& o = policy_->options;
      const double value = inner_.take_turn(method, tape, batch, progress, rng, [&](auto& ex, Var<T, 1> objective) {
        const bool late = progress.epochs > 0 && progress.position >= o.until * progress.epochs;
        if (late || outcome.verdict == Verdict::collecting || outcome.verdict == Verdict::rejected) return objective;
        const Var<T, 2> t = result_of(ex.teacher);
        const bool recording = tape.recording();
        tape.set_recording(recording && o.shuffled_gradient);
        auto pass = Pass<T, B>::frozen(tape);
        const Var<T, 2> s = policy_->shuffled_->answer(pass, Question<decltype(ex.input)>{ex.input, {}, Block::source});
        tape.set_recording(recording);
        const auto [mask, suspicious] = suspicious_rows(tape, t.value, s.value);
        outcome.mask_rate = static_cast<double>(suspicious) / static_cast<double>(t.extent(0));
        return add(tape, objective, scale(tape, -o.lambda, vaccine_penalty<T, B>(tape, t, s, mask, suspicious)));
      });
      if (outcome.verdict == Verdict::collecting) collect(batch.inputs);
      return value;
    }
    /// The images collected for the selection are not saved: a run resumed before the verdict collects anew.
    void visit_state(const StateVisitor& visit) {
      if constexpr (requires { inner_.visit_state(visit); }) inner_.visit_state(visit);
    }

   private:
    Rng draws() const { return Rng(seed_).fork(0x73687566); }
    template <class V>
    void collect(V images) {
      const auto& o = policy_->options;
      if (seen_++ >= o.skipped_batches) {
        kept_.emplace_back(images.shape);
        B::copy(kept_.back().data(), images.data, static_cast<std::size_t>(images.size()) * sizeof(T));
      }
      if (seen_ < o.pseudo_test_batches) return;
      const auto score = [&](std::vector<double>& scores) {
        for (const auto& kept : kept_) {
          tape_.reset();
          NoGrad off(tape_);
          auto pass = Pass<T, B>::frozen(tape_);
          const auto x = tape_.constant(kept.view());
          const auto t = result_of(policy_->shuffled_->original().forward(pass, x));
          const auto s = policy_->shuffled_->answer(pass, Question<std::remove_const_t<decltype(x)>>{x, {}, Block::source});
          vaccine_scores(tape_.on_host(t.value), tape_.on_host(s.value), scores);
        }
      };
      select_vaccine(*policy_->shuffled_, draws(), o.selection, score, policy_->outcome_);
      kept_.clear();
    }

    ShufflingVaccine* policy_;
    std::uint64_t seed_;
    inner_state inner_;
    Tape<T, B> tape_;
    int seen_ = 0;
    std::vector<Tensor<T, decltype(batch_type::inputs)::rank, B>> kept_;
  };

 private:
  Source inner_;
  std::unique_ptr<teacher::Shuffled<TeacherArchitecture, Backend>> shuffled_;
  VaccineOutcome outcome_;
};

}  // namespace retort::defense
