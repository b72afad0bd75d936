// The hardest users of the slots, as small policies of their own: DiSK (a learned gate, alternation), ABD (a shuffled
// teacher, Hessian-vector products in the student's step), ZSKT-like synthesis, RELIANT (a min/max player whose
// parameters are input columns), BGNN (learned per-sample temperatures, weights on one term only).
// They prove that the concepts carry these systems; the systems themselves come with their own issues.
#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/method/hinton.hpp>
#include <retort/train/fit.hpp>

#include "support.hpp"
#include "toy_data.hpp"

using namespace retort;

namespace {

using Mlp = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
Mlp mlp(index_t in, index_t hidden, index_t out) { return Mlp(nn::Linear{in, hidden}, nn::Relu{}, nn::Linear{hidden, out}); }

// ---- DiSK: -sum_y t_y log(s_y + g), a gate g(x) in [0, 1] with its own optimiser, guide passes after student passes ----

struct Scaffolded {
  double weight = 1;
  using reduction = BatchMean;
  static constexpr RowNeeds needs{.teacher = true, .student_softmax = true, .teacher_softmax = true, .extras = 1};
  template <class V>
  struct Acc {
    V value{}, tr{}, slope{};
  };
  template <class V> RETORT_HD Acc<V> identity() const { return {V(0), V(0), V(0)}; }
  template <class V> RETORT_HD Acc<V> add(Acc<V> a, const BasicCell<V>& c) const {
    using std::log;
    const V q = c.student.p + V(c.extra[0]) + V(1e-12);
    a.value -= c.teacher.p * log(q);
    a.tr += c.teacher.p * c.student.p / q;
    a.slope -= c.teacher.p / q;
    return a;
  }
  template <class V> RETORT_HD Acc<V> merge(Acc<V> a, Acc<V> b) const { return {a.value + b.value, a.tr + b.tr, a.slope + b.slope}; }
  template <class V> RETORT_HD V value(const Acc<V>& a) const { return V(weight) * a.value; }
  template <class T, class V> RETORT_HD V grad(const Acc<T>& a, const BasicCell<V>& c) const {  // a row's sums, a pack of cells
    const V q = c.student.p + V(c.extra[0]) + V(1e-12);
    return V(weight) * (c.student.p * V(a.tr) - c.teacher.p * c.student.p / q);
  }
  template <class T> RETORT_HD T extra_grad(int, const Acc<T>& a, const Row<T>&) const { return T(weight) * a.slope; }
};

template <class GuideNet, class Backend = Cpu>
class Guide {
 public:
  using role = retort::role::censor;
  using scalar = scalar_of<Backend>;
  using context = context_of<Backend>;
  template <class B2> using rebind = Guide<GuideNet, B2>;

  explicit Guide(GuideNet net, double budget_price = 0.2) : net_(std::move(net)), price_(budget_price) {}

  template <class T, class Data>
  void prepare(const Setup<context>& setup, const Data&) {
    network_ = std::make_unique<Network<GuideNet, Backend>>(net_, setup.seed);
    learner_ = std::make_unique<Learner<optim::Sgd, scalar, context>>(optim::Sgd{.lr = 0.1f}, network_->parameters());
  }
  template <class E>
  void apply(E& ex) {
    Pass<scalar, context> pass{ex.tape, false, ex.turn == Block::censor, BatchStatistics::running};
    ex.extras = activate(ex.tape, functor::Sigmoid{}, network_->forward(pass, result_of(ex.teacher)));
  }
  template <class E, class Loss>
  auto objective(E& ex, const Loss& loss) {  // loss + price * mean help
    return add(ex.tape, retort::loss::evaluate(loss, ex), scale(ex.tape, scalar(price_), mean(ex.tape, ex.extras)));
  }
  auto& learner() { return *learner_; }
  void plan(const Progress& progress, Plan& plan) const {
    if (progress.epoch == 0) plan.insert(plan.begin(), Sweep{{{Block::censor}}});  // warm-up
    plan.push_back({{{Block::censor}}, 2});
  }
  template <class F> void visit_state(F&& f) {
    for (auto& [name, v] : network_->tensors()) f(name, v);
    learner_->visit_state(f);
  }
  std::string describe() const { return "guide"; }
  Network<GuideNet, Backend>& network() { return *network_; }

 private:
  GuideNet net_;
  double price_;
  std::unique_ptr<Network<GuideNet, Backend>> network_;
  std::unique_ptr<Learner<optim::Sgd, scalar, context>> learner_;
};

template <class T, class S, class G, class B = Cpu>
using DiskLike = typename Hinton<T, S, B>::template with_loss<Scaffolded>::template with_censor<Guide<G>>;

// ---- ABD: a decorator of the student's step that adds h = dL_out/dtheta - eta * mixed product ----

template <class Inner>
class SelfRetrospection : public Inner {
 public:
  template <class B2> using rebind = SelfRetrospection<rebound<Inner, B2>>;
  SelfRetrospection(Inner inner) : Inner(std::move(inner)) {}
  SelfRetrospection(typename Inner::network_type& network) : Inner(network) {}

  int calls = 0;
  double norm = 0;

  template <class E, class Loss>
  void before_step(E& ex, const Loss&) {
    using T = typename Inner::network_type::scalar;
    using B = typename Inner::network_type::context;
    const auto parameters = this->parameters();
    std::vector<Tensor<T, 1, B>> kept, mixed;
    std::vector<View<T, 1>> views;
    for (const auto& p : parameters) {
      kept.emplace_back(p.value.shape);
      std::copy(p.slot->data, p.slot->data + p.value.size(), kept.back().begin());
      mixed.emplace_back(p.value.shape);
    }
    for (auto& m : mixed) views.push_back(m.view());
    const index_t width = ex.input.shape().row_size();
    Tensor<T, 2, B> delta(Shape{index_t{1}, width}), v(Shape{index_t{1}, width});
    Rng rng = ex.rng;
    for (T& d : delta) d = static_cast<T>(1e-3 * rng.normal());
    for (T& d : v) d = static_cast<T>(rng.normal());
    Tape<T, B> tape(ex.tape.backend());
    ReplayLog<B> log;
    const auto x = ex.input.value;
    auto inner = [&](Tape<T, B>& t, Var<T, 2> d) {
      Pass<T, B> pass{t, true, true, BatchStatistics::batch};
      const auto z = result_of(this->network().forward(pass, add(t, t.constant(x), d)));
      return mean(t, multiply(t, z, z));
    };
    hvp<T, B>(tape, delta.view(), v.view(), inner, {}, parameters, views, log);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto& p = parameters[i];
      for (index_t k = 0; k < p.value.size(); ++k) {
        norm += std::abs(static_cast<double>(mixed[i].data()[k]));
        p.slot->data[k] = kept[i].data()[k] - T(0.1) * mixed[i].data()[k];
      }
      p.slot->written = true;
    }
    ++calls;
  }
};

// ---- a generator that attacks: one source turn before two student turns on the fresh batch ----

struct Synthesis {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = true;
  index_t features = 8;
  int batches_per_epoch = 4;

  void plan(const Progress&, Plan& plan) const { plan = {Sweep{{{Block::source}, {Block::student, 2}}}}; }

  template <class T, class B, class Data>
  class State {
   public:
    using batch_type = source::Batch<T, 2>;
    State(const Synthesis& policy, const Setup<B>& setup, const Data&)
        : batches_(policy.batches_per_epoch), rng_(setup.seed), pixels_(Shape{setup.batch_size, policy.features}) {}
    index_t batches() const { return batches_; }
    void begin(std::uint64_t pass) { rng_ = rng_.fork(pass), left_ = batches_; }
    bool next(batch_type& batch) {
      if (left_-- <= 0) return false;
      for (T& x : pixels_) x = static_cast<T>(rng_.normal());
      batch = {pixels_.view(), {}, {}};
      return true;
    }
    /// Raises the disagreement of teacher and student by one gradient step in the inputs.
    template <class Method>
    double take_turn(Method& method, Tape<T, B>& tape, batch_type& batch, const Progress&, const Rng&) {
      tape.reset();
      const Question<Var<T, 2>> q{tape.leaf(batch.inputs)};
      auto frozen = Pass<T, B>::frozen(tape);
      const auto t = result_of(method.teacher_policy().answer(frozen, q)), s = result_of(method.student_policy().answer(frozen, q));
      const auto loss = row_loss(tape, loss::ForwardKl<BatchMean, loss::NoTSquared>{}, RowLossInputs<T>{.student = s, .teacher = t});
      tape.backward(loss);
      const auto g = tape.gradient(q.input);
      for (index_t i = 0; i < g.size(); ++i) pixels_.data()[i] += T(5) * g.data[i];
      return loss.value.data[0];
    }

   private:
    int batches_;
    Rng rng_;
    int left_ = 0;
    Tensor<T, 2, B> pixels_;
  };
  std::string describe() const { return "synthesis"; }
};

// ---- RELIANT: two more input columns; the player's own rows against everybody's mean ----

template <class Inner>
class WithProxy : public Inner {
 public:
  using T = typename Inner::network_type::scalar;
  using B = typename Inner::network_type::context;
  template <class B2> using rebind = WithProxy<rebound<Inner, B2>>;
  WithProxy(typename Inner::network_type& network) : Inner(network) {}

  template <class, class Data>
  void prepare(const Setup<B>& setup, const Data&) {
    proxy_ = nn::Parameter<T, 2, B>(Shape{setup.samples, index_t{2}});
    Rng rng(setup.seed);
    for (T& p : proxy_.value) p = static_cast<T>(rng.uniform());
    proxy_.reserve_gradient();
    learner_ = std::make_unique<Learner<optim::Adam, T, B>>(
        optim::Adam{.lr = 0.01f}, std::vector<ParameterRef<T>>{{proxy_.value.view().flat(), &proxy_.slot, true}});
  }
  template <class E>
  auto answer(Pass<T, B>& pass, const E& q) {
    auto& tape = pass.tape;
    const View<const T, 2> table = proxy_.value.view();
    if (q.turn == Block::player) {  // each sample its own row, which may learn
      auto* rows = tape.template allocate_raw<std::int32_t>(q.ids.size());
      for (index_t i = 0; i < q.ids.size(); ++i) rows[i] = static_cast<std::int32_t>(q.ids.data[i]);
      const auto own = gather_rows(tape, tape.leaf(table, proxy_.slot), View<const std::int32_t, 1>{rows, q.ids.shape});
      return this->network().forward(pass, concat(tape, q.input, own));
    }
    const auto mean_row = mean_axis(tape, tape.constant(table), 0);
    const auto tiled = add(tape, mean_row, tape.constant(zeros(tape, q.input.extent(0))));
    return this->network().forward(pass, concat(tape, q.input, tiled));
  }
  /// The player maximises the difference of the first logit between the two halves of the label set (a stand-in for bias).
  template <class E, class Loss>
  auto objective(E& ex, const Loss&) {
    auto& tape = ex.tape;
    const auto w = tape.allocate(Shape<2>{ex.labels.size(), 1});
    for (index_t i = 0; i < w.size(); ++i) w.data[i] = ex.labels.data[i] == 0 ? T(1) : T(-1);
    return scale(tape, T(-1), mean(tape, multiply(tape, slice(tape, result_of(ex.student), 0, 1), tape.constant(w))));
  }
  auto& learner() { return *learner_; }
  void plan(const Progress&, Plan& plan) const {
    for (auto& sweep : plan) sweep.turns.push_back({Block::player});
  }
  nn::Parameter<T, 2, B>& proxy() { return proxy_; }

 private:
  static View<const T, 2> zeros(Tape<T, B>& tape, index_t n) {
    const auto z = tape.allocate(Shape<2>{n, 2});
    std::fill(z.begin(), z.end(), T(0));
    return z;
  }
  nn::Parameter<T, 2, B> proxy_;
  std::unique_ptr<Learner<optim::Adam, T, B>> learner_;
};

// ---- BGNN: tau_i = 1 + 3 sigmoid(MLP(teacher logits)), learned in the student's own turn; boosting weights on CE only ----

template <class Net, class Backend = Cpu>
class AdaptiveTemperature {
 public:
  using role = retort::role::censor;
  using T = scalar_of<Backend>;
  using B = context_of<Backend>;
  template <class B2> using rebind = AdaptiveTemperature<Net, B2>;
  static constexpr bool learns_with_student = true;
  std::vector<float> boost;  ///< one weight per sample, from the stage before

  explicit AdaptiveTemperature(Net net) : net_(std::move(net)) {}
  template <class, class Data>
  void prepare(const Setup<B>& setup, const Data&) {
    boost.resize(static_cast<std::size_t>(setup.samples), 1.f);
    network_ = std::make_unique<Network<Net, Backend>>(net_, setup.seed);
    learner_ = std::make_unique<Learner<optim::Adam, T, B>>(optim::Adam{}, network_->parameters());
  }
  template <class E>
  void apply(E& ex) {
    auto pass = Pass<T, B>::training(ex.tape, ex.rng);
    const auto gate = activate(ex.tape, functor::Sigmoid{}, network_->forward(pass, result_of(ex.teacher)));
    const auto one = ex.tape.allocate(Shape<2>{1, 1});
    one.data[0] = T(1);
    ex.temperatures = reshape(ex.tape, add(ex.tape, scale(ex.tape, T(3), gate), ex.tape.constant(one)), Shape<1>{gate.extent(0)});
    const auto w = ex.tape.allocate(Shape<1>{ex.ids.size()});
    for (index_t i = 0; i < w.size(); ++i) w.data[i] = boost[static_cast<std::size_t>(ex.ids.data[i])];
    ex.weights = w;
  }
  auto& learner() { return *learner_; }
  std::string describe() const { return "adaptive temperature"; }
  Network<Net, Backend>& network() { return *network_; }

 private:
  Net net_;
  std::unique_ptr<Network<Net, Backend>> network_;
  std::unique_ptr<Learner<optim::Adam, T, B>> learner_;
};

struct BoostedLoss {  // sum_i w_i CE_i + lambda * sum_i KD_i(tau_i): weights act on the label term only
  double lambda = 1;
  template <class E>
  auto evaluate(E& ex) const {
    auto hard = ex;
    hard.temperatures = {};
    auto soft = ex;
    soft.weights = {};
    return add(ex.tape, loss::evaluate(loss::CrossEntropy<BatchMean>{}, hard),
               loss::evaluate(loss::ForwardKl<BatchMean, loss::NoTSquared>{.weight = lambda}, soft));
  }
};

template <class N>
std::vector<float> weights(N& network) {
  std::vector<float> out;
  for (auto& [name, v] : network.tensors()) out.insert(out.end(), v.begin(), v.end());
  return out;
}

struct Trained {
  Dataset<2> data = test::blobs(240, 8, 3, 1);
  Network<Mlp> teacher{mlp(8, 16, 3), 1};
  Trained() {
    LabelsOnly<Mlp> method{teacher::None{}, teacher};
    fit(method, data, optim::Sgd{.lr = 0.1f, .momentum = 0.9f}, {.epochs = 5});
  }
};

}  // namespace

TEST_CASE("DiSK-like: gradients of the scaffolded loss, alternation, frozen blocks") {
  Cpu cpu;
  auto s = test::randn(Shape{4, 3}, 1), t = test::randn(Shape{4, 3}, 2);
  Tensor<double, 2> g(Shape{4, 1});
  for (index_t i = 0; i < 4; ++i) g(i, 0) = 0.1 + 0.2 * static_cast<double>(i);
  const auto r = grad_check(cpu, [&](auto& tape, auto zs, auto gate) {
    return row_loss(tape, Scaffolded{}, RowLossInputs<double>{.student = zs, .teacher = tape.constant(View<const double, 2>(t.view())), .extras = gate});
  }, s, g);
  CHECK(r.error < test::tolerance<double>::gradient);

  Trained world;
  Network<Mlp> student(mlp(8, 4, 3), 2);
  DiskLike<Mlp, Mlp, Mlp> method{world.teacher, student, Scaffolded{}, Guide<Mlp>(mlp(3, 8, 1))};
  const auto teacher_before = weights(world.teacher);
  const Report report = fit(method, world.data, optim::Sgd{.lr = 0.1f}, {.epochs = 4});
  CHECK(report.epochs.back().loss < report.epochs.front().loss);
  CHECK(weights(world.teacher) == teacher_before);
  // A guide's turn leaves the student alone.
  Tape<float, Cpu> tape(cpu);
  Learner<optim::Sgd, float, Cpu> learner(optim::Sgd{}, student.parameters());
  const auto student_before = weights(student);
  const auto guide_before = weights(method.censor_policy().network());
  const source::Batch<float, 2> batch{world.data.inputs.view().rows(0, 10), world.data.label_view().rows(0, 10), {}};
  method.take_turn(Block::censor, tape, learner, batch, {}, Rng(1));
  CHECK(weights(student) == student_before);
  CHECK(weights(method.censor_policy().network()) != guide_before);
  // and in double precision the same alias compiles and runs
  Network<Mlp, Double<Cpu>> teacher64(mlp(8, 16, 3)), student64(mlp(8, 4, 3));
  teacher64.copy_from(world.teacher);
  DiskLike<Mlp, Mlp, Mlp>::with_backend<Double<Cpu>> precise{teacher64, student64, Scaffolded{}, Guide<Mlp, Double<Cpu>>(mlp(3, 8, 1))};
  CHECK(std::isfinite(fit(precise, world.data, optim::Sgd{.lr = 0.1f}, {.epochs = 2}).final_loss()));
}

TEST_CASE("ABD-like: Hessian-vector products inside the student's step; synthesis without data") {
  Trained world;
  Network<Mlp> student(mlp(8, 6, 3), 2);
  using Method = Hinton<Mlp, Mlp>::with_loss<loss::SoftTargets>::with_student<SelfRetrospection<student::Trainable<Mlp>>>::with_source<Synthesis>;
  Method method{world.teacher, student, {}};
  const Report report = fit(method, data::None{}, optim::Adam{.lr = 0.01f}, {.epochs = 10, .batch_size = 32});
  CHECK(report.epochs.back().loss < report.epochs.front().loss);
  CHECK(method.student_policy().calls == 10 * 4 * 2);
  CHECK(method.student_policy().norm > 0);

  // Shuffled clone: permute the input channels of the second layer; the teacher itself stays as it is.
  auto clone = world.teacher.clone();
  clone.visit([](const std::string& name, auto& p) {
    if constexpr (requires { p.slot; })
      if (name == "2.weight") std::rotate(p.value.begin(), p.value.begin() + p.value.extent(1), p.value.end());
  });
  CHECK(weights(clone) != weights(world.teacher));
}

TEST_CASE("RELIANT-like: the player moves its columns, the student its weights, each in its own turn") {
  Trained world;
  Network<Mlp> student(mlp(10, 8, 3), 2);
  using Method = Hinton<Mlp, Mlp>::with_student<WithProxy<student::Trainable<Mlp>>>;
  Method method{world.teacher, student, {}};
  fit(method, world.data, optim::Sgd{.lr = 0.05f}, {.epochs = 3});
  auto& proxy = method.student_policy().proxy();
  std::vector<float> p(proxy.value.begin(), proxy.value.end());
  const auto w = weights(student);
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  Learner<optim::Sgd, float, Cpu> learner(optim::Sgd{.lr = 0.05f}, student.parameters());
  std::vector<std::int64_t> ids(10);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int64_t>(i);
  const source::Batch<float, 2> batch{world.data.inputs.view().rows(0, 10), world.data.label_view().rows(0, 10), {ids.data(), {10}}};
  const double first = method.take_turn(Block::player, tape, learner, batch, {}, Rng(1));
  CHECK(weights(student) == w);
  CHECK(std::vector<float>(proxy.value.begin(), proxy.value.end()) != p);
  CHECK(method.take_turn(Block::player, tape, learner, batch, {}, Rng(1)) < first);  // its objective falls
  p.assign(proxy.value.begin(), proxy.value.end());
  method.take_turn(Block::student, tape, learner, batch, {}, Rng(1));
  CHECK(weights(student) != w);
  CHECK(std::vector<float>(proxy.value.begin(), proxy.value.end()) == p);
}

TEST_CASE("BGNN-like: temperatures learn in the student's turn, weights act on the label term") {
  Trained world;
  Network<Mlp> student(mlp(8, 6, 3), 2);
  using Method = Hinton<Mlp, Mlp>::with_loss<BoostedLoss>::with_censor<AdaptiveTemperature<Mlp>>;
  Method method{world.teacher, student, BoostedLoss{}, AdaptiveTemperature<Mlp>(mlp(3, 8, 1))};
  const Report report = fit(method, world.data, optim::Sgd{.lr = 0.05f}, {.epochs = 3, .seed = 4});
  CHECK(report.epochs.back().loss < report.epochs.front().loss);
  Network<Mlp> untouched(mlp(3, 8, 1), 4);
  CHECK(weights(method.censor_policy().network()) != weights(untouched));
}
