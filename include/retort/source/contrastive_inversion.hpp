#pragma once

#include <memory>
#include <retort/core/state.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/source/generator_networks.hpp>
#include <retort/source/inversion.hpp>

namespace retort::source {

/// Channels of all batch normalisations of a network together: the width of CMI's features. Throws value_error when there
/// is none, since then there is nothing to contrast or match.
template <class Architecture, class Backend>
index_t batch_norm_channels(Network<Architecture, Backend>& network) {
  index_t sum = 0;
  network.visit([&](const std::string& name, auto& p) {
    if (name.ends_with("running_mean")) sum += p.value.size();
  });
  require<value_error>(sum > 0, "source::batch_norm_channels: the network has no batch normalisation, which this method needs: ", network.describe());
  return sum;
}

struct ContrastiveOptions : PoolOptions {
  ContrastiveOptions() { steps = 200; }
  index_t classes = 10;
  index_t latent = 256;
  double weight = 0.8, temperature = 0.1;  ///< of the contrastive term
  index_t bank = 40960, negatives = 4096;  ///< feature pairs kept, and drawn from them at each step
  index_t head = 256;                      ///< width of the embedding in which instances are told apart
  int padding = 4;                         ///< of the global view: a padded crop, mirrored
  double least_area = 0.25;                ///< of the local view: a resized crop, mirrored
  optim::Adam optimizer{.lr = 1e-3f, .beta1 = 0.5f};  ///< of generator and latents
  double head_rate = 1e-3;
};

namespace detail {
/// N x D: of each image the spatial mean of what enters each batch normalisation, joined.
template <class T, class B>
Var<T, 2> instance_features(Tape<T, B>& tape, const BatchNormObserver<T>& observer) {
  require<value_error>(!observer.seen.empty(), "source::ContrastiveInversion: the teacher has no batch-norm layer to take features from");
  Var<T, 2> out;
  for (const auto& layer : observer.seen) {
    const index_t channels = layer.values.extent(1), places = layer.values.extent(0) / layer.samples;
    const auto means = mean_axis(tape, reshape(tape, layer.values, Shape<3>{layer.samples, places, channels}), 1);
    const auto flat = reshape(tape, means, Shape<2>{layer.samples, channels});
    out = out.value.data ? concat(tape, out, flat) : flat;
  }
  return out;
}
}  // namespace detail

/// Contrastive Model Inversion (Fang et al. 2021): once an epoch a fresh generator and its latents are optimised together for
/// one batch of images, whose local and global views must be told apart from those of all other instances, earlier ones
/// from a memory bank included, by the teacher's features under a learned head:
///   L = objective + 0.8 L_cr,  L_cr = CE over cosines / 0.1 of local views (rows) and global views (columns, constant).
/// The images of the lowest loss join the pool, their features the bank. Refers to the caller's generator, whose parameters
/// each synthesis draws anew: N(0, 0.02), batch-norm factors N(1, 0.02). Use it with data::None.
template <class Net, class Objective = source::Objective<BnStatistics, OneHot, AdversarialWhereAgreed>,
          class Transform = data::Pipeline<data::RandomCrop, data::HorizontalFlip>, class Backend = Cpu>
class ContrastiveInversion {
 public:
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = true;
  using network_type = Network<Net, Backend>;
  template <class B2>
  using rebind = ContrastiveInversion<Net, Objective, Transform, B2>;
  using head_architecture = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;

  /// `image`: height, width and channels; `features`: batch_norm_channels(teacher).
  ContrastiveInversion(network_type& network, Shape<3> image, index_t features, ContrastiveOptions options = {}, Objective objective = {},
                       Transform transform = {})
      : options(std::move(options)), objective(std::move(objective)), transform(std::move(transform)), network_(&network), image_(image),
        features_(features) {}

  ContrastiveOptions options;
  Objective objective;
  Transform transform;

  network_type& network() { return *network_; }
  /// Images made since the run began.
  std::uint64_t synthesised() const { return synthesised_; }
  void plan(const Progress&, Plan& plan) const { plan = {Sweep{{{Block::source}, {Block::student}}}}; }
  std::string describe() const {
    return retort::detail::concat("contrastive inversion by ", network_->describe(), ", latent ", options.latent, ", ", options.steps, " steps for ",
                                  options.synthesis_batch, " images, then ", options.student_batches, " student batches");
  }

  template <class T, class B, class Data>
  class State : public detail::PooledState<T, B, ContrastiveInversion> {
    using base = detail::PooledState<T, B, ContrastiveInversion>;

   public:
    using typename base::batch_type;

    /// Throws value_error for counts below 1.
    State(ContrastiveInversion& policy, const Setup<B>& setup, const Data&)
        : base(policy, setup, policy.image_), latents_(Shape{policy.options.synthesis_batch, policy.options.latent}), gradient_(latents_.shape()),
          slot_{gradient_.data(), false}, bank_(policy.options.bank, {policy.features_, policy.features_}),
          best_local_(Shape{policy.options.synthesis_batch, policy.features_}), best_global_(best_local_.shape()),
          head_(head_architecture(nn::Linear{policy.features_, policy.features_}, {}, nn::Linear{policy.features_, policy.options.head}),
                Rng(setup.seed).fork(0x68656164).at(0)),
          learner_(policy.options.optimizer, with_latents(policy)), head_learner_({.lr = static_cast<float>(policy.options.head_rate)}, head_.parameters()) {
      const auto& o = policy.options;
      require<value_error>(o.classes >= 2 && o.latent >= 1 && o.bank >= o.synthesis_batch && o.negatives >= 0 && o.temperature > 0,
                           "source::ContrastiveInversion: expected at least 2 classes, 1 latent entry, a bank of a synthesis batch or more and a "
                           "positive temperature, got ", o.classes, ", ", o.latent, ", ", o.bank, ", ", o.temperature);
    }
    /// The epoch's synthesis, before its first student batch; later turns of the epoch do nothing.
    template <class Method, class Extra = NoExtra>
    double take_turn(Method& method, Tape<T, B>& tape, batch_type& batch, const Progress& progress, const Rng& rng, const Extra& extra = {}) {
      if (!this->first_batch()) return 0;
      const auto& o = this->policy_->options;
      start_anew(rng.fork(0));
      const auto targets = this->draw_targets(o.classes, rng.fork(1));
      this->lowest_ = std::numeric_limits<double>::infinity();
      for (int step = 0; step < o.steps; ++step) {
        const Rng own = rng.fork(2).fork(static_cast<std::uint64_t>(step));
        tape.reset();
        learner_.zero_grad();
        head_learner_.zero_grad();
        auto pass = Pass<T, B>::training(tape, own.fork(0));
        const auto images = result_of(this->policy_->network().forward(pass, tape.leaf(View<const T, 2>(latents_.view()), slot_)));
        require<shape_error>(images.shape() == this->best_.shape(), "source::ContrastiveInversion: the generator makes ", to_string(images.shape()),
                             ", expected ", to_string(this->best_.shape()));
        View<const T, 2> local, global;
        const auto value = synthesis_loss(method, tape, shifted(tape, images, o.padding, own.fork(3)), targets, observer_, progress, own,
                                          this->policy_->objective, [&](auto& ex, Var<T, 1> objective) {
          const auto term = contrast(method, ex, resized_crop(tape, images, o.least_area, own.fork(4)), own.fork(5), local, global);
          return extra(ex, add(tape, objective, scale(tape, static_cast<T>(o.weight), term)));
        });
        if (this->keep_if_best(static_cast<double>(value.value.data[0]), images.value)) {
          B::copy(best_local_.data(), local.data, static_cast<std::size_t>(local.size()) * sizeof(T));
          B::copy(best_global_.data(), global.data, static_cast<std::size_t>(global.size()) * sizeof(T));
        }
        tape.backward(value);
        learner_.step(tape.backend(), step, o.steps);
        head_learner_.step(tape.backend(), step, o.steps);
      }
      bank_.add(best_local_.view(), best_global_.view());
      this->finish(batch);
      return this->lowest_;
    }
    void visit_state(const StateVisitor& visit) {
      base::visit_state(visit);
      bank_.visit_state(visit.under("bank."));
      for (auto& [name, view] : head_.tensors()) visit("head." + name, view);
      head_learner_.visit_state(visit.under("head.optimizer."));
    }

   private:
    std::vector<ParameterRef<T>> with_latents(ContrastiveInversion& policy) {
      auto all = policy.network().parameters();
      all.push_back({latents_.view().flat(), &slot_, false});
      return all;
    }
    void start_anew(Rng rng) {
      this->policy_->network().visit([&](const std::string& name, auto& p) {
        const bool spread = name.ends_with("gamma") || name.ends_with("running_variance"), drawn = name.ends_with("weight") || name.ends_with("gamma");
        for (T& w : p.value) w = static_cast<T>((spread ? 1 : 0) + (drawn ? 0.02 * rng.normal() : 0));
      });
      for (T& z : latents_) z = static_cast<T>(rng.normal());
      detail::restart(learner_);
    }
    /// L_cr, and the features of both views, which live as long as the tape's records.
    template <class Method, class E>
    Var<T, 1> contrast(Method& method, E& ex, Var<T, 4> seen_locally, Rng rng, View<const T, 2>& local, View<const T, 2>& global) {
      auto& tape = ex.tape;
      const auto& o = this->policy_->options;
      const auto phi_global = detail::instance_features(tape, *ex.statistics);
      local_observer_.seen.clear();
      auto frozen = Pass<T, B>::frozen(tape);
      frozen.observer = &local_observer_;
      method.teacher_policy().answer(frozen, Question<Var<T, 4>>{seen_locally, {}, Block::source});
      const auto phi_local = detail::instance_features(tape, local_observer_);
      local = phi_local.value, global = phi_global.value;
      const index_t n = phi_local.extent(0), width = phi_local.extent(1), old = std::min(o.negatives, bank_.size());
      require<shape_error>(width == this->policy_->features_, "source::ContrastiveInversion: told of ", this->policy_->features_,
                           " features, the teacher's batch normalisations have ", width, " channels; use batch_norm_channels(teacher)");
      const View<T, 2> old_local = tape.allocate(Shape{old, width}), globals = tape.allocate(Shape{n + old, width});
      B::copy(globals.data, global.data, static_cast<std::size_t>(global.size()) * sizeof(T));
      for (index_t i = 0; i < old; ++i) {
        const index_t at = bank_.draw(rng);
        B::copy(old_local.row(i), bank_.row(0, at), static_cast<std::size_t>(width) * sizeof(T));
        B::copy(globals.row(n + i), bank_.row(1, at), static_cast<std::size_t>(width) * sizeof(T));
      }
      auto learning = Pass<T, B>::training(tape, rng);
      const auto embed = [&](Var<T, 2> phi) { return normalized(tape, result_of(head_.forward(learning, phi)), 1); };
      const auto columns = tape.detach(embed(tape.constant(globals)));
      auto* own = tape.template allocate_raw<std::int32_t>(n + old);
      for (index_t i = 0; i < n + old; ++i) own[i] = static_cast<std::int32_t>(i);
      const auto told_apart = [&](Var<T, 2> rows, index_t first) {
        const auto cosines = matmul_transposed(tape, embed(rows), columns);
        return row_loss(tape, loss::CrossEntropy<BatchMean>{},
                        RowLossInputs<T>{.student = scale(tape, static_cast<T>(1 / o.temperature), cosines), .labels = {own + first, {rows.extent(0)}}});
      };
      const auto now = told_apart(phi_local, 0);
      return old > 0 ? add(tape, now, told_apart(tape.constant(old_local), n)) : now;
    }

    Tensor<T, 2, B> latents_, gradient_;
    GradientSlot<T> slot_;
    Ring<T, B> bank_;
    Tensor<T, 2, B> best_local_, best_global_;
    Network<head_architecture, Backend> head_;
    BatchNormObserver<T> observer_, local_observer_;
    Learner<optim::Adam, T, B> learner_, head_learner_;
  };

 private:
  template <class, class, class>
  friend class detail::PooledState;
  network_type* network_;
  Shape<3> image_;
  index_t features_;
  std::uint64_t synthesised_ = 0;
};

}  // namespace retort::source
