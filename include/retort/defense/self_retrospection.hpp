#pragma once

#include <memory>
#include <retort/defense/hyper_gradient.hpp>
#include <retort/defense/vaccine.hpp>
#include <retort/method/distiller.hpp>
#include <retort/loss/kl_mean.hpp>
#include <retort/student/trainable.hpp>

namespace retort::defense {

struct RetrospectionOptions {
  double start = late_phase;      ///< share of the run after which it acts; 0: from the first step
  int search_steps = 10;          ///< n_delta
  double search_rate = 0.1;       ///< of Adam (of plain SGD in the first-order form, where 10 is published)
  double initial_noise = 1e-3;    ///< delta starts here: 0 is an exact stationary point, where nothing would happen
  double penalty = 1e-3;          ///< weight of ||delta||^2 in the inner loss
  double patched_portion = 0.02;  ///< of the batch sees delta in the outer loss, one row at least
  bool detach_clean = true;       ///< S(x) is a constant in the outer loss (ZSKT); not so for CMI and OOD
  NeumannOptions neumann{};       ///< hyper-gradient form
  double largest_norm = 10;       ///< of delta, first-order form
  double weight = 1;              ///< of the added gradient; 0.5 in the first-order form
};

/// delta += noise, then `steps` times downhill on `objective(tape, delta)`, which returns a scalar. Returns the last value.
/// Adam (Kingma & Ba 2015) with moments from zero. `moments` are two tensors of delta's shape.
template <class T, class B, class F>
double search_perturbation(Tape<T, B>& tape, View<T, 2> delta, View<T, 2> m, View<T, 2> v, int steps, double rate, F&& objective) {
  B& backend = tape.backend();
  Kernels<B>::fill(backend, T(0), m);
  Kernels<B>::fill(backend, T(0), v);
  double value = 0;
  for (int step = 1; step <= steps; ++step) {
    tape.reset();
    const Var<T, 2> d = tape.leaf(View<const T, 2>(delta));
    const Var<T, 1> loss = objective(tape, d);
    value = static_cast<double>(tape.item(loss));
    tape.backward(loss);
    const functor::AdamStep<T> adam{static_cast<T>(rate), T(0.9), T(0.999), T(1e-8), static_cast<T>(1 / (1 - std::pow(0.9, step))),
                                    static_cast<T>(1 / (1 - std::pow(0.999, step))), T(0), T(0)};
    Kernels<B>::update(backend, adam, ParameterUpdate<T>{tape.gradient(d).data, delta.data, m.data, v.data, delta.size()});
  }
  return value;
}

namespace detail {

/// What both forms share: whose phase it is, one perturbation for the whole batch, logits of clean and perturbed inputs.
template <class Student, class ModelArchitecture, class Kl>
class RetrospectionBase : public Student {
 public:
  using network_type = typename Student::network_type;
  using T = typename network_type::scalar;
  using B = typename network_type::context;
  using model_type = Network<ModelArchitecture, typename network_type::backend>;

  RetrospectionBase(Student inner, model_type& model, RetrospectionOptions options, Kl kl)
      : Student(std::move(inner)), options(options), kl(kl), model_(&model), work_(std::make_unique<Work>()) {}

  RetrospectionOptions options;
  Kl kl;

  /// Steps in which it acted, and the norm of the last perturbation.
  index_t calls() const { return work_->calls; }
  double perturbation_norm() const { return work_->norm; }

 protected:
  struct Work {
    std::unique_ptr<Tape<T, B>> tape;
    Tensor<T, 2, B> delta, m, v, patched, model_logits, student_logits;
    NeumannWorkspace<T, B> neumann;
    std::vector<ParameterRef<T>> parameters;
    std::vector<index_t> rows;
    index_t calls = 0;
    double norm = 0;
  };

  static bool due(const Progress& progress, double start) {
    return progress.epochs == 0 || progress.position >= start * progress.epochs;
  }
  /// Memory for batches of this size; noise into delta; the rows that the outer loss patches.
  template <class V>
  Work& begin(Tape<T, B>& session, V input, const Rng& rng) {
    Work& w = *work_;
    const index_t n = input.extent(0), width = input.shape().row_size();
    if (!w.tape) {
      w.tape = std::make_unique<Tape<T, B>>(session.backend());
      w.parameters = this->parameters();
    }
    if (w.delta.extent(1) != width || w.patched.extent(0) != n) {
      if constexpr (!B::host_accessible) session.backend().synchronize();  // no new tensors while launches are held back
      for (auto* t : {&w.delta, &w.m, &w.v}) *t = Tensor<T, 2, B>(Shape{index_t{1}, width});
      w.patched = Tensor<T, 2, B>(Shape{n, index_t{1}});
      w.rows.resize(static_cast<std::size_t>(n));
    }
    Rng noise = rng.fork(0), choice = rng.fork(1);
    for (index_t i = 0; i < n; ++i) w.rows[static_cast<std::size_t>(i)] = i;
    choice.shuffle(w.rows);
    const auto count = std::clamp<index_t>(static_cast<index_t>(options.patched_portion * static_cast<double>(n)), 1, n);
    const auto set = [&](Tensor<T, 2, B>& to, auto&& fill) {
      const View<const T, 2> from = session.from_host(to.shape(), fill);
      Kernels<B>::accumulate(session.backend(), T(1), from.flat(), to.view().flat(), Write::replace);
    };
    set(w.delta, [&](View<T, 2> delta) {
      for (T& d : delta) d = static_cast<T>(options.initial_noise * noise.normal());
    });
    set(w.patched, [&](View<T, 2> patched) {
      std::fill(patched.begin(), patched.end(), T(0));
      for (index_t i = 0; i < count; ++i) patched(w.rows[static_cast<std::size_t>(i)], 0) = T(1);
    });
    ++w.calls;
    return w;
  }
  /// Logits of a network at x, or at x + delta, or at x + r * delta. Batch statistics that do not move.
  template <class Net, class V>
  static Var<T, 2> logits(Net& net, Tape<T, B>& tape, V x, bool learn, BatchStatistics statistics, const Rng& rng, Var<T, 2> delta = {},
                          const Tensor<T, 2, B>* rows = nullptr) {
    Pass<T, B> pass{tape, statistics != BatchStatistics::running, learn, statistics, rng};
    if (!delta.value.data) return result_of(net.forward(pass, x));
    const Var<T, 2> shift = rows ? multiply(tape, tape.constant(rows->view()), delta) : delta;
    return result_of(net.forward(pass, reshape(tape, add(tape, flatten(tape, x), shift), x.shape())));
  }
  /// KL(clean || perturbed).
  Var<T, 1> divergence(Tape<T, B>& tape, Var<T, 2> clean, Var<T, 2> perturbed) const {
    return row_loss(tape, kl, RowLossInputs<T>{.student = perturbed, .teacher = clean});
  }
  template <class F>
  static void keep(Tape<T, B>& tape, Tensor<T, 2, B>& to, F&& make) {
    tape.reset();
    NoGrad off(tape);
    const Var<T, 2> z = make();
    if (to.shape() != z.shape()) {
      if constexpr (!B::host_accessible) tape.backend().synchronize();  // as in begin
      to = Tensor<T, 2, B>(z.shape());
    }
    Kernels<B>::accumulate(tape.backend(), T(1), z.value.flat(), to.view().flat(), Write::replace);
  }
  model_type& model() { return *model_; }
  /// The model that is attacked: a frozen teacher in evaluation mode, the student itself in training mode.
  BatchStatistics model_statistics() {
    if constexpr (std::is_same_v<model_type, network_type>)
      if (model_ == &this->network()) return BatchStatistics::batch;
    return BatchStatistics::running;
  }
  static Var<T, 1> penalised(Tape<T, B>& tape, Var<T, 1> value, Var<T, 2> delta, double penalty) {
    return penalty == 0 ? value : add(tape, value, scale(tape, penalty, sum(tape, multiply(tape, delta, delta))));
  }
  /// delta that raises KL(M(x) || M(x + delta)) most.
  template <class V>
  void search(Work& w, V x, const Rng& rng) {
    auto& tape = *w.tape;
    const auto statistics = model_statistics();
    keep(tape, w.model_logits, [&] { return logits(model(), tape, x, false, statistics, rng); });
    search_perturbation(tape, w.delta.view(), w.m.view(), w.v.view(), options.search_steps, options.search_rate, [&](auto& t, auto d) {
      const auto kl = divergence(t, t.constant(w.model_logits.view()), logits(model(), t, x, false, statistics, rng, d));
      return penalised(t, scale(t, -1, kl), d, options.penalty);
    });
    w.norm = std::sqrt(Kernels<B>::sum_of_squares(tape.backend(), View<const T, 1>(w.delta.view().flat())));
  }

 private:
  model_type* model_;
  std::unique_ptr<Work> work_;
};

}  // namespace detail

/// Self-retrospection of ABD (Hong et al. 2023): late in training the student learns, beside its own loss, to answer alike
/// with and without a perturbation that was found to change answers most,
///   min_theta max_delta 1/n sum_i KL(S(x_i) || S(x_i + delta)),
/// by the implicit hyper-gradient of the min/max problem (hyper_gradient), which is added to the student's gradient 1:1.
/// One delta per batch, found by Adam on `Model` (the teacher by default in ABD's sweeps; the student itself if no network is
/// given). The implicit-function theorem holds only approximately, as delta maximises the model's divergence and the
/// series uses the student's. Decorates any student policy. `Kl` is the divergence throughout: KlMean in ZSKT, KlBatch at
/// the student's temperature in CMI and OOD. Batch-norm statistics are the batch's and do not move.
template <class Student, class ModelArchitecture = architecture_of<Student>, class Kl = loss::KlMean>
class SelfRetrospection : public detail::RetrospectionBase<Student, ModelArchitecture, Kl> {
  using base = detail::RetrospectionBase<Student, ModelArchitecture, Kl>;

 public:
  using typename base::B;
  using typename base::model_type;
  using typename base::network_type;
  using typename base::T;
  template <class B2>
  using rebind = SelfRetrospection<rebound<Student, B2>, ModelArchitecture, Kl>;

  /// Perturbations are searched on `model`.
  SelfRetrospection(Student inner, model_type& model, RetrospectionOptions options = {}, Kl kl = {}) : base(std::move(inner), model, options, kl) {}
  /// On the student itself.
  SelfRetrospection(network_type& network, RetrospectionOptions options = {}, Kl kl = {})
    requires std::is_same_v<model_type, network_type>
      : base(Student(network), network, options, kl) {}

  template <class E, class Loss>
  void before_step(E& ex, const Loss& loss) {
    if constexpr (requires { Student::before_step(ex, loss); }) Student::before_step(ex, loss);
    if (!base::due(ex.progress, this->options.start)) return;
    const auto x = ex.tape.detach(ex.input);
    const Rng rng = ex.rng.fork(0x5352), masks = rng.fork(2);
    auto& w = this->begin(ex.tape, x, rng);
    auto& tape = *w.tape;
    this->search(w, x, masks);
    auto& net = this->network();
    constexpr auto batch = BatchStatistics::batch;
    base::keep(tape, w.student_logits, [&] { return base::logits(net, tape, x, false, batch, masks); });
    const auto clean = [&](auto& t) { return t.constant(View<const T, 2>(w.student_logits.view())); };
    const auto inner = [&](auto& t, auto d, bool learn) {
      const auto kl = this->divergence(t, clean(t), base::logits(net, t, x, learn, batch, masks, d));
      return base::penalised(t, scale(t, -1, kl), d, this->options.penalty);
    };
    const auto outer = [&](auto& t, auto d, bool learn) {
      const auto from = this->options.detach_clean ? clean(t) : base::logits(net, t, x, learn, batch, masks);
      return scale(t, this->options.weight, this->divergence(t, from, base::logits(net, t, x, learn, batch, masks, d, &w.patched)));
    };
    hyper_gradient<T, B>(tape, w.delta.view(), inner, outer, std::span<const ParameterRef<T>>(w.parameters), w.neumann, this->options.neumann);
  }
  std::string describe() const { return base::describe() + ", self-retrospection"; }
};

/// The first-order fallback (ABD's `use_hg` = false): delta by plain gradient ascent, scaled back to a norm of
/// `largest_norm`, then the gradient of weight * KL(S(x) || S(x + delta)) over the whole batch is added, delta constant.
/// Published with search_rate 10, weight 0.5 and no penalty.
template <class Student, class ModelArchitecture = architecture_of<Student>, class Kl = loss::KlMean>
class SelfRetrospectionFirstOrder : public detail::RetrospectionBase<Student, ModelArchitecture, Kl> {
  using base = detail::RetrospectionBase<Student, ModelArchitecture, Kl>;

 public:
  using typename base::B;
  using typename base::model_type;
  using typename base::network_type;
  using typename base::T;
  template <class B2>
  using rebind = SelfRetrospectionFirstOrder<rebound<Student, B2>, ModelArchitecture, Kl>;
  static constexpr RetrospectionOptions published{.search_rate = 10, .penalty = 0, .weight = 0.5};

  SelfRetrospectionFirstOrder(Student inner, model_type& model, RetrospectionOptions options = published, Kl kl = {})
      : base(std::move(inner), model, options, kl) {}
  SelfRetrospectionFirstOrder(network_type& network, RetrospectionOptions options = published, Kl kl = {})
    requires std::is_same_v<model_type, network_type>
      : base(Student(network), network, options, kl) {}

  template <class E, class Loss>
  void before_step(E& ex, const Loss& loss) {
    if constexpr (requires { Student::before_step(ex, loss); }) Student::before_step(ex, loss);
    if (!base::due(ex.progress, this->options.start)) return;
    const auto& o = this->options;
    const auto x = ex.tape.detach(ex.input);
    const Rng rng = ex.rng.fork(0x5352), masks = rng.fork(2);
    auto& w = this->begin(ex.tape, x, rng);
    auto& tape = *w.tape;
    const auto statistics = this->model_statistics();
    base::keep(tape, w.model_logits, [&] { return base::logits(this->model(), tape, x, false, statistics, masks); });
    const View<T, 1> delta = w.delta.view().flat();
    const auto norm = [&] { return std::sqrt(Kernels<B>::sum_of_squares(tape.backend(), View<const T, 1>(delta))); };
    for (int step = 0; step < o.search_steps; ++step) {
      tape.reset();
      const Var<T, 2> d = tape.leaf(View<const T, 2>(w.delta.view()));
      const auto kl = this->divergence(tape, tape.constant(View<const T, 2>(w.model_logits.view())), base::logits(this->model(), tape, x, false, statistics, masks, d));
      tape.backward(base::penalised(tape, scale(tape, -1, kl), d, o.penalty));
      Kernels<B>::accumulate(tape.backend(), static_cast<T>(-o.search_rate), tape.gradient(d).flat(), delta, Write::add);
    }
    if (const double length = norm(); length > o.largest_norm)
      Kernels<B>::accumulate(tape.backend(), static_cast<T>(o.largest_norm / length), View<const T, 1>(delta), delta, Write::replace);
    w.norm = norm();
    tape.reset();  // the gradients of the student's own loss are in the slots: this backward adds to them
    constexpr auto batch = BatchStatistics::batch;
    auto& net = this->network();
    const auto clean = base::logits(net, tape, x, true, batch, masks);
    const auto moved = base::logits(net, tape, x, true, batch, masks, tape.constant(View<const T, 2>(w.delta.view())));
    tape.backward(scale(tape, o.weight, this->divergence(tape, clean, moved)));
  }
  std::string describe() const { return base::describe() + ", first-order self-retrospection"; }
};

}  // namespace retort::defense
