#pragma once

#include <cstring>
#include <limits>
#include <retort/core/state.hpp>
#include <retort/source/dataset.hpp>
#include <retort/source/pool.hpp>
#include <retort/source/synthesis.hpp>
#include <retort/source/views.hpp>
#include <retort/train/learner.hpp>

namespace retort::source {

/// What sources share that make a batch of images once an epoch and then let the student learn from all they have made.
struct PoolOptions {
  int steps = 1000;             ///< on each batch of images
  index_t synthesis_batch = 256;
  int student_batches = 400;    ///< drawn from the pool after each synthesis, of FitOptions::batch_size
  index_t pool = 10240;         ///< images kept; the oldest go
};

namespace detail {

/// The part of a State that keeps a pool of images and draws the student's batches from it, through the augmentation.
template <class T, class B, class Policy>
class PooledState {
  static_assert(B::host_accessible, "retort: sources that invert a teacher keep and augment their images on the host; use the CPU backend, or a generator; see "
                                    "retort/source/generator.hpp");

 public:
  using batch_type = Batch<T, 4>;

  PooledState(Policy& policy, const Setup<B>& setup, Shape<3> image)
      : policy_(&policy), backend_(&setup.backend), seed_(setup.seed), image_(image), pool_(policy.options.pool, {image[0] * image[1] * image[2]}),
        inputs_(Shape<4>{setup.batch_size, image[0], image[1], image[2]}), best_(Shape<4>{policy.options.synthesis_batch, image[0], image[1], image[2]}),
        targets_(Shape{policy.options.synthesis_batch}), samples_(static_cast<std::size_t>(setup.batch_size)) {
    const auto& o = policy.options;
    require<value_error>(o.steps >= 1 && o.synthesis_batch >= 2 && o.student_batches >= 1 && o.pool >= o.synthesis_batch,
                         "a source with a pool: expected at least 1 step, a synthesis batch of 2 or more, 1 student batch and room for one "
                         "synthesis batch in the pool, got ", o.steps, ", ", o.synthesis_batch, ", ", o.student_batches, ", ", o.pool);
  }
  index_t batches() const { return policy_->options.student_batches; }
  void begin(std::uint64_t pass) {
    constexpr std::uint64_t purpose = 0x706f6f6c;
    stream_ = Rng(seed_).fork(purpose).fork(pass);
    pass_ = pass;
    at_ = 0;
  }
  /// Before the first synthesis the pool is empty, and the batch is one of zeros until the source's turn.
  bool next(batch_type& batch) {
    if (at_ == batches()) return false;
    ++at_;
    draw(batch);
    return true;
  }
  void visit_state(const StateVisitor& visit) {
    pool_.visit_state(visit.under("pool."));
  }

 protected:
  bool first_batch() const { return at_ == 1; }
  /// The synthesis of this epoch is done: its images join the pool.
  void finish(batch_type& batch) {
    pool_.add(best_.view());
    policy_->synthesised_ = pool_.total();
    draw(batch);
  }
  void draw(batch_type& batch) {
    if (pool_.size() > 0) {
      Rng rng = stream_.fork(static_cast<std::uint64_t>(at_));
      for (index_t i = 0; i < inputs_.extent(0); ++i) {
        samples_[static_cast<std::size_t>(i)] = static_cast<std::int64_t>(at_) * inputs_.extent(0) + i;
        B::copy(inputs_.view().row(i), pool_.row(0, pool_.draw(rng)), static_cast<std::size_t>(inputs_.shape().row_size()) * sizeof(T));
      }
      if constexpr (std::is_same_v<T, float>) data::augment(policy_->transform, inputs_.view(), std::span<const index_t>(samples_), seed_, pass_);
    }
    batch = {inputs_.view(), {}, {}};
  }
  /// Targets by lot among the classes.
  View<const std::int32_t, 1> draw_targets(index_t classes, Rng rng) {
    for (auto& y : targets_) y = static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(classes)));
    return targets_.view();
  }
  /// Keeps the images of the lowest objective.
  bool keep_if_best(double value, View<const T, 4> images) {
    require<value_error>(is_finite(value), policy_->describe(), ": the objective is not finite (", value, "); lower the rate of its optimiser");
    if (value >= lowest_) return false;
    lowest_ = value;
    B::copy(best_.data(), images.data, static_cast<std::size_t>(images.size()) * sizeof(T));
    return true;
  }

  Policy* policy_;
  B* backend_;
  std::uint64_t seed_, pass_ = 0;
  Shape<3> image_;
  Rng stream_;
  index_t at_ = 0;
  Ring<T, B> pool_;
  Tensor<T, 4, B> inputs_, best_;
  Tensor<std::int32_t, 1> targets_;
  std::vector<index_t> samples_;
  double lowest_ = 0;
};

/// Forgets what an optimiser's moments have gathered: its next problem is another one.
template <class Optimizer, class T, class B>
void restart(Learner<Optimizer, T, B>& learner) {
  struct Zero final : StateSink {
    void tensor(const std::string&, StateKind kind, void* data, std::size_t count) override { std::memset(data, 0, count * state_bytes(kind)); }
    void text(const std::string&, std::string& value) override { value.clear(); }
  } zero;
  OnHost<B> to(zero);
  learner.visit_state(StateVisitor(to));
}

}  // namespace detail

struct InversionOptions : PoolOptions {
  index_t classes = 10;  ///< targets are drawn among them
  double roll = 0.125;   ///< share of the image's size by which a step's view may be rolled
  double low = -std::numeric_limits<double>::infinity();  ///< pixels are clipped to low..high after each step: the range
  double high = std::numeric_limits<double>::infinity();  ///< of real images, 0..1 normalised
  optim::Adam optimizer{.lr = 0.1f, .beta1 = 0.5f, .beta2 = 0.99f};
};

/// Images by gradient descent on their pixels (Yin et al. 2020, "Dreaming to Distill"): once an epoch a batch of noise with
/// targets drawn by lot goes down the objective for `steps` steps, each on a rolled and mirrored view; the images of the
/// lowest objective join a pool, from which the student's batches are drawn through `Transform`. `Objective` is a loss over
/// a SynthesisExchange. Use it with data::None. Float backends augment; others take the images as they are.
template <class Objective, class Transform = data::Pipeline<data::RandomCrop, data::HorizontalFlip>, class Backend = Cpu>
class Inversion {
 public:
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = true;
  template <class B2>
  using rebind = Inversion<Objective, Transform, B2>;

  /// `image`: height, width and channels of what teacher and student take.
  Inversion(Shape<3> image, InversionOptions options = {}, Objective objective = {}, Transform transform = {})
      : options(std::move(options)), objective(std::move(objective)), transform(std::move(transform)), image_(image) {}

  InversionOptions options;
  Objective objective;
  Transform transform;

  /// Images made since the run began.
  std::uint64_t synthesised() const { return synthesised_; }
  void plan(const Progress&, Plan& plan) const { plan = {Sweep{{{Block::source}, {Block::student}}}}; }
  std::string describe() const {
    return retort::detail::concat("inversion of ", to_string(image_), " images, ", options.steps, " steps for ", options.synthesis_batch, " images, then ",
                                  options.student_batches, " student batches");
  }

  template <class T, class B, class Data>
  class State : public detail::PooledState<T, B, Inversion> {
    using base = detail::PooledState<T, B, Inversion>;

   public:
    using typename base::batch_type;

    /// Throws value_error for counts below 1, shape_error for an empty image.
    State(Inversion& policy, const Setup<B>& setup, const Data&)
        : base(policy, setup, policy.image_), images_(this->best_.shape()),
          learner_(policy.options.optimizer, std::vector<ParameterRef<T>>{{images_.view().flat(), &slot_, false}}) {
      require<value_error>(policy.options.classes >= 2 && policy.options.low < policy.options.high,
                           "source::Inversion: expected at least 2 classes and low < high, got ", policy.options.classes, ", ", policy.options.low,
                           " and ", policy.options.high);
      gradient_ = Tensor<T, 4, B>(images_.shape());
      slot_.data = gradient_.data();
    }
    /// The epoch's synthesis, before its first student batch; later turns of the epoch do nothing.
    template <class Method, class Extra = NoExtra>
    double take_turn(Method& method, Tape<T, B>& tape, batch_type& batch, const Progress& progress, const Rng& rng, const Extra& extra = {}) {
      if (!this->first_batch()) return 0;
      const auto& o = this->policy_->options;
      Rng noise = rng.fork(0);
      for (T& x : images_) x = static_cast<T>(noise.normal());
      const auto targets = this->draw_targets(o.classes, rng.fork(1));
      detail::restart(learner_);
      this->lowest_ = std::numeric_limits<double>::infinity();
      for (int step = 0; step < o.steps; ++step) {
        const Rng own = rng.fork(2).fork(static_cast<std::uint64_t>(step));
        tape.reset();
        const auto images = tape.leaf(View<const T, 4>(images_.view()), slot_);
        const auto value = synthesis_loss(method, tape, rolled(tape, images, o.roll, own.fork(0)), targets, observer_, progress, own,
                                          this->policy_->objective, extra);
        this->keep_if_best(static_cast<double>(value.value.data[0]), images_.view());
        tape.backward(value);
        learner_.step(tape.backend(), step, o.steps);
        for (T& x : images_) x = std::clamp(x, static_cast<T>(o.low), static_cast<T>(o.high));
      }
      this->finish(batch);
      return this->lowest_;
    }

   private:
    Tensor<T, 4, B> images_, gradient_;
    GradientSlot<T> slot_;
    BatchNormObserver<T> observer_;
    Learner<optim::Adam, T, B> learner_;
  };

 private:
  template <class, class, class>
  friend class detail::PooledState;
  Shape<3> image_;
  std::uint64_t synthesised_ = 0;
};

}  // namespace retort::source
