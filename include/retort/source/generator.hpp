#pragma once

#include <retort/core/state.hpp>
#include <retort/source/dataset.hpp>
#include <retort/source/generator_networks.hpp>
#include <retort/source/synthesis.hpp>
#include <retort/train/learner.hpp>

namespace retort::source {

struct GeneratorOptions {
  index_t latent = 100;        ///< width of the generator's input, drawn from N(0, I)
  int batches_per_epoch = 100;
  int generator_steps = 1;     ///< on each latent batch, before the student
  int student_steps = 10;      ///< on the images that the generator makes of the same latents after its steps
  optim::Adam optimizer{.lr = 1e-3f, .schedule = {.rule = optim::Cosine{}}, .clip = {.norm = 5}};
};

/// A generator that learns against the student: in each turn it takes a step down its objective, differentiating through
/// the frozen teacher and the student, and then makes the batch anew in training mode. `Objective` is a loss over a
/// SynthesisExchange, usually source::Objective<...>. Refers to the caller's generator network, which keeps what it learns
/// (its rank-2 input is the latent batch). Use it with data::None; `FitOptions::batch_size` is the size of a batch.
template <class Net, class Objective = source::Objective<Adversarial<>>, class Backend = Cpu>
class Generator {
 public:
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = true;
  using network_type = Network<Net, Backend>;
  using objective_type = Objective;
  template <class B2>
  using rebind = Generator<Net, Objective, B2>;

  Generator(network_type& network, GeneratorOptions options = {}, Objective objective = {})
      : options(std::move(options)), objective(std::move(objective)), network_(&network) {}

  GeneratorOptions options;
  Objective objective;

  network_type& network() { return *network_; }
  void plan(const Progress&, Plan& plan) const {
    plan = {Sweep{{{Block::source, options.generator_steps}, {Block::student, options.student_steps}}}};
  }
  std::string describe() const {
    return retort::detail::concat("generator ", network_->describe(), ", latent ", options.latent, ", steps ", options.generator_steps, ":",
                          options.student_steps);
  }

  template <class T, class B, class Data>
  class State {
    using images_type = decltype(result_of(std::declval<network_type&>().forward(std::declval<Pass<T, B>&>(), std::declval<Var<T, 2>>())));

   public:
    using batch_type = Batch<T, images_type::rank>;

    /// Throws value_error for a plan without steps.
    State(Generator& policy, const Setup<B>& setup, const Data&)
        : policy_(&policy), seed_(setup.seed), latents_(Shape{setup.batch_size, policy.options.latent}), tape_(setup.backend),
          learner_(policy.options.optimizer, policy.network().parameters()) {
      const auto& o = policy.options;
      require<value_error>(o.batches_per_epoch >= 1 && o.generator_steps >= 0 && o.student_steps >= 1 && o.latent >= 1,
                           "source::Generator: expected at least 1 batch, 0 generator steps, 1 student step and 1 latent entry, got ",
                           o.batches_per_epoch, ", ", o.generator_steps, ", ", o.student_steps, ", ", o.latent);
    }
    index_t batches() const { return policy_->options.batches_per_epoch; }
    void begin(std::uint64_t pass) {
      constexpr std::uint64_t purpose = 0x6c6174656e74;
      stream_ = Rng(seed_).fork(purpose).fork(pass);
      at_ = 0;
    }
    /// Draws the latents and shows what the generator makes of them now.
    bool next(batch_type& batch) {
      if (at_ == batches()) return false;
      Rng rng = stream_.fork(static_cast<std::uint64_t>(at_++));
      for (T& z : latents_) z = static_cast<T>(rng.normal());
      make(batch);
      return true;
    }
    /// One step of the generator on the present latents; `extra` may add a defence's term.
    template <class Method, class Extra = NoExtra>
    double take_turn(Method& method, Tape<T, B>& tape, batch_type& batch, const Progress& progress, const Rng& rng, const Extra& extra = {}) {
      tape.reset();
      learner_.zero_grad();
      auto pass = Pass<T, B>::training(tape, rng.fork(0));
      const auto images = result_of(policy_->network().forward(pass, latents_on(tape)));
      const auto value = synthesis_loss(method, tape, images, {}, observer_, progress, rng, policy_->objective, extra);
      const double number = static_cast<double>(tape.item(value));
      require<value_error>(is_finite(number), "source::Generator: the objective is not finite (", number, ") in epoch ", progress.epoch,
                           ", step ", progress.step, "; lower the generator's learning rate");
      tape.backward(value);
      learner_.step(tape.backend(), progress.position, progress.epochs);
      make(batch);
      return number;
    }
    void visit_state(const StateVisitor& visit) {
      for (auto& [name, view] : policy_->network().tensors()) visit(name, view);
      learner_.visit_state(visit);
    }

   private:
    /// Training mode, as the generator's step sees the images; running statistics move in the step alone.
    void make(batch_type& batch) {
      tape_.reset();
      NoGrad off(tape_);
      Pass<T, B> pass{tape_, true, false, BatchStatistics::batch, stream_.fork(~static_cast<std::uint64_t>(at_))};
      batch = {result_of(policy_->network().forward(pass, latents_on(tape_))).value, {}, {}};
    }
    Var<T, 2> latents_on(Tape<T, B>& tape) {
      return tape.constant(tape.from_host(latents_.shape(), [&](View<T, 2> z) { std::copy(latents_.begin(), latents_.end(), z.begin()); }));
    }

    Generator* policy_;
    std::uint64_t seed_;
    Rng stream_;
    index_t at_ = 0;
    Tensor<T, 2> latents_;
    Tape<T, B> tape_;  // holds the batch until the next one
    BatchNormObserver<T> observer_;
    Learner<optim::Adam, T, B> learner_;
  };

 private:
  network_type* network_;
};

}  // namespace retort::source
