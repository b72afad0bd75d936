#pragma once
// DiSK's guide: a gate network, used in training only, that decides how much help each sample gets.

#include <memory>
#include <optional>
#include <retort/censor/penalty.hpp>
#include <retort/core/state.hpp>
#include <retort/method/roles.hpp>
#include <retort/nn/network.hpp>
#include <retort/train/learner.hpp>

namespace retort::censor {

/// What a guide looks at. Detached: nothing reaches teacher or student through the guide. A tap that the network lacks is
/// a compile-time message.
struct TeacherLogits {
  template <class E>
  static auto of(const E& e) { return e.tape.detach(result_of(e.teacher)); }
  static std::string describe() { return "teacher logits"; }
};
template <class Tag>
struct TeacherTap {
  template <class E>
  static auto of(const E& e) { return e.tape.detach(tap<Tag>(e.teacher)); }
  static std::string describe() { return "a teacher feature"; }
};
template <class Tag>
struct StudentTap {
  template <class E>
  static auto of(const E& e) { return e.tape.detach(tap<Tag>(e.student)); }
  static std::string describe() { return "a student feature"; }
};
/// Two inputs side by side, as a std::pair: for networks that begin with nn::Towers.
template <class First, class Second>
struct Both {
  template <class E>
  static auto of(const E& e) { return std::pair{First::of(e), Second::of(e)}; }
  static std::string describe() { return First::describe() + " and " + Second::describe(); }
};
template <class TeacherTag, class StudentTag>
using BothTaps = Both<TeacherTap<TeacherTag>, StudentTap<StudentTag>>;

/// DiSK's phases: before the first epoch `warmup` passes of the guide, then in each epoch `student_passes` passes of the
/// student over the data and `guide_passes` of the guide. `student_pays`: the student's passes carry the penalty too, so
/// that it also learns to need less help.
struct Alternate {
  int warmup = 5, student_passes = 3, guide_passes = 3;
  bool student_pays = false;
  static constexpr bool joint = false;

  void plan(int epoch, Plan& plan) const {
    for (Sweep& sweep : plan) sweep.times *= student_passes;
    if (epoch == 0 && warmup > 0) plan.insert(plan.begin(), Sweep{{{Block::censor}}, warmup});
    plan.push_back({{{Block::censor}}, guide_passes});
  }
  void validate() const {
    require<value_error>(warmup >= 0 && student_passes >= 1 && guide_passes >= 0,
                         "censor::Alternate: expected warmup >= 0, student_passes >= 1 and guide_passes >= 0, got ", warmup, ", ",
                         student_passes, ", ", guide_passes);
  }
  std::string describe() const {
    return retort::detail::concat(warmup, " warm-up passes, then ", student_passes, ":", guide_passes, student_pays ? ", the student pays" : "");
  }
};

/// Student and guide step together on each batch, on the loss and the penalty, after `warmup` passes of the guide alone.
struct Together {
  int warmup = 0;
  static constexpr bool joint = true, student_pays = true;

  void plan(int epoch, Plan& plan) const {
    if (epoch == 0 && warmup > 0) plan.insert(plan.begin(), Sweep{{{Block::censor}}, warmup});
  }
  void validate() const { require<value_error>(warmup >= 0, "censor::Together: expected warmup >= 0, got ", warmup); }
  std::string describe() const { return retort::detail::concat(warmup, " warm-up passes, then together"); }
};

namespace detail {
template <class Optimizer>
Optimizer guide_optimizer() {
  if constexpr (std::is_same_v<Optimizer, optim::Sgd>)
    return {.lr = 0.1f, .momentum = 0.9f, .weight_decay = 1e-5f, .schedule = {.rule = optim::Cosine{}}};
  else
    return {};
}
}  // namespace detail

/// A gate g(x) = sigmoid(network(input)) in [0, 1] per sample, for loss::ScaffoldedSoftTargets. In its own turns it
/// minimises the hint plus `PenaltyPolicy` (see penalty.hpp); in the student's turns it stands still, unless the phases
/// are `Together`. GuideNet: an architecture that ends in one output (guide_networks.hpp); Input: what it is fed.
/// Kag, Acar, Gangrade & Saligrama, "Scaffolding a Student to Instill Knowledge", ICLR 2023. Example: examples/disk.cpp.
template <class GuideNet, class Input = TeacherLogits, class PenaltyPolicy = Penalty<>, class Phases = Alternate,
          class Optimizer = optim::Sgd, class Backend = Cpu>
class Guide {
 public:
  using role = retort::role::censor;
  using scalar = scalar_of<Backend>;
  using context = context_of<Backend>;
  using network_type = Network<GuideNet, Backend>;
  template <class B2>
  using rebind = Guide<GuideNet, Input, PenaltyPolicy, Phases, Optimizer, B2>;
  static constexpr bool learns_with_student = Phases::joint;

  struct Options {
    PenaltyPolicy penalty{};
    Phases phases{};
    Optimizer optimizer = detail::guide_optimizer<Optimizer>();
  };

  /// Throws value_error for options out of range.
  explicit Guide(GuideNet net, Options options = {}) : net_(std::move(net)), options_(std::move(options)) {
    options_.penalty.validate();
    options_.phases.validate();
  }

  /// A fresh network, a function of the architecture and the run's seed.
  template <class T, class Data>
  void prepare(const Setup<context>& setup, const Data&) {
    network_ = std::make_unique<network_type>(net_, Rng(setup.seed).fork(0x6775696465).next_u64());
    learner_.emplace(options_.optimizer, network_->parameters());
    learner_->zero_grad();
    now_ = last_ = {};
  }

  template <class E>
  void apply(E& exchange) {
    const bool learning = exchange.turn == Block::censor || (Phases::joint && exchange.turn == Block::student);
    auto pass = learning ? Pass<scalar, context>::training(exchange.tape, exchange.rng.fork(0x67617465))
                         : Pass<scalar, context>::frozen(exchange.tape);
    const auto logit = result_of(network_->forward(pass, Input::of(exchange)));
    require<shape_error>(logit.shape() == Shape<2>{result_of(exchange.student).extent(0), 1},
                         "censor::Guide: the network must give one number per sample, got shape ", to_string(logit.shape()));
    exchange.extras = activate(exchange.tape, functor::Sigmoid{}, logit);
  }

  template <class E, class Loss>
  auto objective(E& exchange, const Loss& loss) {
    const auto penalty = pay(exchange, loss);
    return add(exchange.tape, scaffold_of(loss).evaluate_gated(exchange), penalty);
  }
  template <class E, class Loss, class V>
  V add_to_student(E& exchange, const Loss& loss, V value) {
    if (!options_.phases.student_pays) return value;
    return add(exchange.tape, value, pay(exchange, loss));
  }
  void plan(const Progress& progress, Plan& plan) const { options_.phases.plan(progress.epoch, plan); }

  auto& learner() { return *learner_; }
  /// The gate network; there from the start of `fit`.
  network_type& network() { return *network_; }
  const Options& options() const { return options_; }

  /// Means over the guide's turns of an epoch. "Errors" are the samples that the student gets wrong.
  struct Summary {
    double help = 0, help_on_errors = 0, used = 0, price = 0, budget = 0;
    index_t errors = 0, turns = 0;
  };
  /// Of the last epoch in which the guide learned (callbacks::GuideLog records it).
  Summary summary() const {
    Summary s = now_.turns ? now_ : last_;
    if (s.turns) {
      const auto n = static_cast<double>(s.turns);
      s.help /= n, s.used /= n;
      s.help_on_errors /= static_cast<double>(std::max<index_t>(1, s.errors));
    }
    return s;
  }

  void visit_state(const StateVisitor& visit) {
    for (auto& [name, view] : network_->tensors()) visit("network." + name, view);
    learner_->visit_state(visit.under("optimizer."));
    if constexpr (requires { options_.penalty.price.visit_state(visit); })
      options_.penalty.price.visit_state(visit.under("price."));
  }
  std::string describe() const {
    return "guide " + net_.describe() + " of " + Input::describe() + ", " + options_.penalty.describe() + ", " + options_.phases.describe() +
           ", " + options_.optimizer.describe();
  }

 private:
  template <class E, class Loss>
  auto pay(E& exchange, const Loss& loss) {
    typename PenaltyPolicy::Record r;
    const auto penalty = options_.penalty.evaluate(exchange, loss, r);
    if (exchange.turn == Block::censor || Phases::joint) {
      if constexpr (requires { options_.penalty.price.observe(0.); }) options_.penalty.price.observe(r.used - r.budget);
      if (exchange.progress.epoch != epoch_) {
        last_ = now_;
        now_ = {};
        epoch_ = exchange.progress.epoch;
      }
      now_.help += r.help, now_.used += r.used, now_.price = r.price, now_.budget = r.budget;
      now_.help_on_errors += r.help_on_errors * static_cast<double>(r.errors);
      now_.errors += r.errors;
      ++now_.turns;
    }
    return penalty;
  }

  GuideNet net_;
  Options options_;
  std::unique_ptr<network_type> network_;
  std::optional<Learner<Optimizer, scalar, context>> learner_;
  Summary now_{}, last_{};
  int epoch_ = -1;
};

}  // namespace retort::censor

namespace retort::callbacks {

/// Records what the guide did in each epoch: metrics `help` (mean gate), `help_on_errors` (of samples that the student
/// gets wrong), `budget_used` (B), `budget` (delta) and `price` (lambda).
struct GuideLog {
  template <class S>
  void on_epoch_end(S& session) {
    const auto s = session.method().censor_policy().summary();
    auto& metrics = session.record().metrics;
    metrics.emplace_back("help", s.help);
    metrics.emplace_back("help_on_errors", s.help_on_errors);
    metrics.emplace_back("budget_used", s.used);
    metrics.emplace_back("budget", s.budget);
    metrics.emplace_back("price", s.price);
  }
};

}  // namespace retort::callbacks
