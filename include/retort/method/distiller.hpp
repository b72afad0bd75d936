#pragma once
// The one loop body. A method is a Distiller with its slots filled; new behaviour is a policy, never a branch here.

#include <retort/censor/none.hpp>
#include <retort/concepts.hpp>
#include <retort/core/finite.hpp>
#include <retort/loss/evaluate.hpp>
#include <retort/predict/student_only.hpp>
#include <retort/source/dataset.hpp>
#include <retort/student/trainable.hpp>
#include <retort/teacher/frozen.hpp>
#include <retort/train/learner.hpp>

namespace retort {

namespace detail {
template <class P, class B>
struct teacher_slot {
  using type = teacher::Frozen<P, B>;
};
template <TeacherPolicy P, class B>
struct teacher_slot<P, B> {
  using type = P;
};
template <class P, class B>
struct student_slot {
  using type = student::Trainable<P, B>;
};
template <StudentPolicy P, class B>
struct student_slot<P, B> {
  using type = P;
};
template <class P, class B>
struct rebound {
  using type = P;
};
template <class P, class B>
  requires requires { typename P::template rebind<B>; }
struct rebound<P, B> {
  using type = typename P::template rebind<B>;
};

/// What was given as teacher and as student fits, but the other way round.
template <class First, class Second, class Teacher, class Student>
concept swapped = std::is_convertible_v<First, Student> && std::is_convertible_v<Second, Teacher> &&
                  !(std::is_convertible_v<First, Teacher> && std::is_convertible_v<Second, Student>);

/// The launches of one step of a backend that gathers them; nothing for others. Left without close(), the step has failed.
template <class B>
class StepScope {
 public:
  explicit StepScope(B& backend) : backend_(backend) {
    if constexpr (requires { backend.begin_step(); }) backend_.begin_step();
  }
  void close() {
    if constexpr (requires(B& b) { b.end_step(); }) backend_.end_step();
    open_ = false;  // not before: a step whose launch fails is abandoned, too
  }
  ~StepScope() {
    if constexpr (requires(B& b) { b.abandon_step(); })
      if (open_) backend_.abandon_step();
  }
  StepScope(const StepScope&) = delete;
  StepScope& operator=(const StepScope&) = delete;

 private:
  B& backend_;
  bool open_ = true;
};
}  // namespace detail

/// A policy for another backend: its `rebind<B>` where it has one (it holds networks or tensors), else itself.
template <class P, class B>
using rebound = typename detail::rebound<P, B>::type;

/// The teacher slot of a method alias: a teacher policy as it is, an architecture as a frozen network.
template <class P, class B>
using teacher_slot = typename detail::teacher_slot<P, B>::type;
/// The student slot: a student policy as it is, an architecture as a trainable network.
template <class P, class B>
using student_slot = typename detail::student_slot<P, B>::type;

/// A knowledge distillation method: who teaches, who learns, by which loss, what is censored, where batches come from,
/// how the result predicts, and on which backend. Structure is this type; numbers are the policies' members.
/// `with_*` exchange one slot and keep the rest. Train it with `fit`.
template <class Teacher, class Student, class Loss, class Censor = censor::None, class Source = source::Dataset,
          class Predictor = predict::StudentOnly, class Backend = Cpu>
class Distiller {
  static_assert(TeacherPolicy<Teacher>, RETORT_TEACHER_MESSAGE);
  static_assert(StudentPolicy<Student>, RETORT_STUDENT_MESSAGE);
  static_assert(CensorPolicy<Censor>, RETORT_CENSOR_MESSAGE);
  static_assert(SourcePolicy<Source>, RETORT_SOURCE_MESSAGE);
  static_assert(PredictorPolicy<Predictor>, RETORT_PREDICTOR_MESSAGE);
  static_assert(!Source::needs_input_gradient || Teacher::differentiable,
                "retort: this source synthesises its batches by differentiating through the teacher, but the teacher has no "
                "input gradients (a cached one does not); use teacher::Frozen or an ensemble of logits; see retort/source");
  static_assert(!requires { Loss::needs_views; } || requires { Source::views; },
                "retort: this loss compares two views of each sample (MLLD), but the source gives one; use with_source<source::TwoViews<Strong>>; "
                "see retort/source/two_views.hpp");

 public:
  using teacher = Teacher;
  using student = Student;
  using loss = Loss;
  using censor = Censor;
  using source = Source;
  using predictor = Predictor;
  using backend = Backend;
  using scalar = scalar_of<Backend>;
  using context = context_of<Backend>;
  /// What the loss learns and remembers: see loss/learned.hpp.
  using loss_state_type = retort::loss::state_of<Loss, scalar, context>;
  static constexpr bool loss_is_learned = retort::loss::learned<Loss>;
  using tape_type = Tape<scalar, context>;
  using pass_type = Pass<scalar, context>;

  template <class X> using with_teacher = Distiller<teacher_slot<X, Backend>, Student, Loss, Censor, Source, Predictor, Backend>;
  template <class X> using with_student = Distiller<Teacher, student_slot<X, Backend>, Loss, Censor, Source, Predictor, Backend>;
  template <class X> using with_loss = Distiller<Teacher, Student, X, Censor, Source, Predictor, Backend>;
  template <class X> using with_censor = Distiller<Teacher, Student, Loss, rebound<X, Backend>, Source, Predictor, Backend>;
  template <class X> using with_source = Distiller<Teacher, Student, Loss, Censor, rebound<X, Backend>, Predictor, Backend>;
  template <class X> using with_predictor = Distiller<Teacher, Student, Loss, Censor, Source, X, Backend>;
  template <class X>
  using with_backend =
      Distiller<rebound<Teacher, X>, rebound<Student, X>, Loss, rebound<Censor, X>, rebound<Source, X>, rebound<Predictor, X>, X>;

  /// Teacher and student slots convert from networks: `Hinton<A, B> method{teacher_network, student_network, {...}}`.
  Distiller(Teacher teacher, Student student, Loss loss = {}, Censor censor = {}, Source source = {}, Predictor predictor = {})
      : teacher_(std::move(teacher)), student_(std::move(student)), loss_(std::move(loss)), censor_(std::move(censor)),
        source_(std::move(source)), predictor_(std::move(predictor)) {}
  /// The two in the wrong order do not compile.
  template <class First, class Second>
    requires detail::swapped<First, Second, Teacher, Student>
  Distiller(First&& student, Second&& teacher, Loss loss = {}, Censor censor = {}, Source source = {}, Predictor predictor = {})
      : Distiller(Teacher(std::forward<Second>(teacher)), Student(std::forward<First>(student)), std::move(loss), std::move(censor), std::move(source),
                  std::move(predictor)) {
    static_assert(sizeof(First) == 0, "retort: the teacher comes first and the student second, but this method was given them the other way round: "
                                      "Method{teacher, student, {...}}; see retort/method/distiller.hpp");
  }

  Teacher& teacher_policy() { return teacher_; }
  Student& student_policy() { return student_; }
  Loss& loss_policy() { return loss_; }
  Censor& censor_policy() { return censor_; }
  Source& source_policy() { return source_; }
  Predictor& predictor_policy() { return predictor_; }

  /// Lets every policy that wants it look at the task before training.
  template <class Data>
  void prepare(const Setup<context>& setup, const Data& data) {
    auto one = [&](auto& policy) {
      static_assert(!detail::names_prepare<std::remove_cvref_t<decltype(policy)>> || requires { policy.template prepare<scalar>(setup, data); },
                    RETORT_HOOK_MESSAGE("template <class T, class B, class Data> void prepare(const Setup<B>&, const Data&)"));
      if constexpr (requires { policy.template prepare<scalar>(setup, data); }) policy.template prepare<scalar>(setup, data);
    };
    one(teacher_);
    one(student_);
    one(censor_);
    static_assert(!detail::names_build<Predictor> || requires { predictor_.build(teacher_); }, RETORT_HOOK_MESSAGE("void build(const Teacher&), a template"));
    if constexpr (requires { predictor_.build(teacher_); }) predictor_.build(teacher_);
  }

  /// Makes the state of a learned loss, a function of the run's seed and of the shapes that a first batch gives.
  template <class Batch, class Data>
  void prepare_loss(tape_type& tape, const Batch& batch, const Setup<context>& setup, const Data& data)
    requires loss_is_learned
  {
    const NoGrad off(tape);
    auto exchange = make_exchange(Block::source, tape, batch, {}, Rng(setup.seed), Memory::none);
    retort::loss::Start<decltype(exchange), context, Data> start{exchange, setup.classes, setup.samples, data, Rng(setup.seed).fork(0x6c6f7373)};
    loss_state_ = std::make_unique<loss_state_type>(loss_.make(start));
    tape.reset();
  }
  /// Owns the state of a learned loss; there from the start of `fit`.
  auto& loss_state() { return loss_state_; }
  /// All that the student's optimiser trains: the student's parameters, then the loss's.
  std::vector<ParameterRef<scalar>> parameters() {
    auto all = student_.parameters();
    if constexpr (loss_is_learned)
      for (const auto& p : nn::parameters_of<scalar>(*loss_state_)) all.push_back(p);
    return all;
  }

  /// Who takes turns in this epoch, in which order.
  Plan plan(const Progress& progress) const {
    Plan plan{Sweep{}};
    auto edit = [&](const auto& policy) {
      static_assert(!detail::names_plan<std::remove_cvref_t<decltype(policy)>> || requires { policy.plan(progress, plan); },
                    RETORT_HOOK_MESSAGE("void plan(const Progress&, Plan&) const"));
      if constexpr (requires { policy.plan(progress, plan); }) policy.plan(progress, plan);
    };
    edit(source_);
    edit(censor_);
    edit(student_);
    return plan;
  }

  /// What a turn's objective came to. On the CPU the number is known, and was checked, before the backward pass; a device's is
  /// read when it is asked for, so that the host can prepare something else meanwhile.
  class Outcome {
   public:
    Outcome(tape_type& tape, Var<scalar, 1> value, const Progress& progress, const char* what)
        : tape_(&tape), value_(value), epoch_(progress.epoch), step_(progress.step), what_(what) {
      if constexpr (context::host_accessible) number_ = read();
    }
    /// Call it before the tape's next reset. Throws value_error when it is not finite.
    double value() {
      if constexpr (!context::host_accessible) number_ = read();
      return number_;
    }

   private:
    double read() const {
      const double number = static_cast<double>(tape_->item(value_));
      require<value_error>(is_finite(number), "fit: ", what_, " is not finite (", number, ") in epoch ", epoch_, ", step ", step_,
                           "; lower the learning rate or look at the inputs");
      return number;
    }
    tape_type* tape_;
    Var<scalar, 1> value_;
    int epoch_;
    index_t step_;
    const char* what_;
    double number_ = 0;
  };

  /// One turn of one block on one batch; returns the value of the objective. `memory`: whether the teacher's answer is kept
  /// for a later turn on this very batch, or taken from an earlier one. Throws value_error when it is not finite.
  template <class Optimizer, class Batch>
  double take_turn(Block block, tape_type& tape, Learner<Optimizer, scalar, context>& learner, const Batch& batch,
                   const Progress& progress, const Rng& rng, Memory memory = Memory::none) {
    return start_turn(block, tape, learner, batch, progress, rng, memory).value();
  }
  /// The same, but a device may be still at work when it returns. Its launches are one step of the backend's (cuda/replay.hpp).
  template <class Optimizer, class Batch>
  Outcome start_turn(Block block, tape_type& tape, Learner<Optimizer, scalar, context>& learner, const Batch& batch,
                     const Progress& progress, const Rng& rng, Memory memory = Memory::none) {
    detail::StepScope<context> step(tape.backend());
    const Outcome outcome = turn(block, tape, learner, batch, progress, rng, memory);
    step.close();
    return outcome;
  }

  std::string describe() const {
    std::string out = "teacher: " + teacher_.describe() + "; student: " + student_.describe() + "; source: " + source_.describe();
    if (const std::string c = censor_.describe(); !c.empty()) out += "; censor: " + c;
    return out;
  }

 private:
  template <class Batch>
  auto make_exchange(Block block, tape_type& tape, const Batch& batch, const Progress& progress, const Rng& rng, Memory memory) {
    auto input = tape.constant(batch.inputs);
    const Question<decltype(input)> question{input, batch.ids, block};
    auto frozen = pass_type::frozen(tape);
    auto learning = block == Block::student ? pass_type::training(tape, rng.fork(0)) : pass_type::frozen(tape);
    learning.rng = rng.fork(0);  // an opponent may want the student's dropout
    if constexpr (requires { batch.graph; }) frozen.graph = learning.graph = batch.graph;
    static_assert(requires { teacher_.answer(frozen, question); }, RETORT_TEACHER_MESSAGE);
    auto taught = recall(memory, tape, [&] { return teacher_.answer(frozen, question); });
    static_assert(requires { student_.answer(learning, question); }, RETORT_STUDENT_MESSAGE);
    auto learned = student_.answer(learning, question);
    Exchange<scalar, context, decltype(input), decltype(learned), decltype(taught)> exchange{
        tape, input, batch.labels, batch.ids, learned, taught, {}, {}, {}, {}, block, progress, rng.fork(1)};
    if constexpr (requires { batch.graph; }) exchange.graph = batch.graph;
    return exchange;
  }
  template <class E>
  auto evaluate_loss(E& exchange) {
    if constexpr (loss_is_learned)
      return retort::loss::evaluate(loss_, exchange, *loss_state_);
    else
      return retort::loss::evaluate(loss_, exchange);
  }
  /// Ten steps of a student on one synthesised batch need one answer of a teacher that would say the same each time.
  template <class F>
  auto recall(Memory memory, tape_type& tape, F&& answer) {
    if constexpr (std::is_same_v<decltype(answer()), Var<scalar, 2>> && requires { requires Teacher::answers_repeat; }) {
      if (memory == Memory::reuse) return tape.constant(View<const scalar, 2>(answer_.view()));
      const Var<scalar, 2> out = answer();
      if (memory == Memory::keep) {
        if (answer_.shape() != out.shape()) {
          if constexpr (!context::host_accessible) tape.backend().synchronize();  // no new tensors while launches are held back
          answer_ = Tensor<scalar, 2, context>(out.shape());
        }
        if constexpr (context::host_accessible)
          context::copy(answer_.data(), out.value.data, static_cast<std::size_t>(out.size()) * sizeof(scalar));
        else  // a launch like others, in their order
          Kernels<context>::accumulate(tape.backend(), scalar(1), out.value.flat(), answer_.view().flat(), Write::replace);
      }
      return out;
    } else {
      return answer();
    }
  }
  template <class Optimizer, class Batch>
  Outcome turn(Block block, tape_type& tape, Learner<Optimizer, scalar, context>& learner, const Batch& batch, const Progress& progress,
               const Rng& rng, Memory memory) {
    tape.reset();
    auto exchange = make_exchange(block, tape, batch, progress, rng, memory);
    static_assert(requires { censor_.apply(exchange); }, RETORT_CENSOR_MESSAGE);
    censor_.apply(exchange);
    switch (block) {
      case Block::student: {
        auto value = evaluate_loss(exchange);
        check_hooks(exchange, value);
        if constexpr (requires { censor_.add_to_student(exchange, loss_, value); }) value = censor_.add_to_student(exchange, loss_, value);
        const Outcome outcome(tape, value, progress, "the student's loss");
        tape.backward(value);
        if constexpr (requires { student_.before_step(exchange, loss_); }) student_.before_step(exchange, loss_);
        learner.step(tape.backend(), progress.position, progress.epochs);
        if constexpr (requires { student_.after_step(); }) student_.after_step();
        if constexpr (requires { censor_.learns_with_student; })
          if (censor_.learns_with_student) censor_.learner().step(tape.backend(), progress.position, progress.epochs);
        return outcome;
      }
      case Block::censor: return other_turn(censor_, exchange, progress, "the censor's objective");
      case Block::player: return other_turn(student_, exchange, progress, "the player's objective");
      case Block::source: break;  // a source learns while it makes its batch: Session calls it
    }
    throw error("Distiller: the plan gives a turn to a block that this method's policies do not have");
  }
  /// A hook that is there but does not fit would never run.
  template <class E, class V>
  void check_hooks(E& exchange, const V& value) {
    static_assert(!detail::names_add_to_student<Censor> || requires { censor_.add_to_student(exchange, loss_, value); },
                  RETORT_HOOK_MESSAGE("template <class E, class Loss, class V> V add_to_student(E& exchange, const Loss&, V value)"));
    static_assert(!detail::names_objective<Censor> || requires { censor_.objective(exchange, loss_); },
                  RETORT_HOOK_MESSAGE("template <class E, class Loss> auto objective(E& exchange, const Loss&)"));
    static_assert(!detail::names_objective<Student> || requires { student_.objective(exchange, loss_); },
                  RETORT_HOOK_MESSAGE("template <class E, class Loss> auto objective(E& exchange, const Loss&)"));
    static_assert(!detail::names_before_step<Student> || requires { student_.before_step(exchange, loss_); },
                  RETORT_HOOK_MESSAGE("template <class E, class Loss> void before_step(E& exchange, const Loss&)"));
    static_assert(!detail::names_after_step<Student> || requires { student_.after_step(); }, RETORT_HOOK_MESSAGE("void after_step()"));
  }
  template <class Policy, class E>
  Outcome other_turn(Policy& policy, E& exchange, const Progress& progress, const char* what) {
    if constexpr (requires { policy.objective(exchange, loss_); }) {
      const auto value = policy.objective(exchange, loss_);
      const Outcome outcome(exchange.tape, value, progress, what);
      exchange.tape.backward(value);
      policy.learner().step(exchange.tape.backend(), progress.position, progress.epochs);
      return outcome;
    } else {
      throw error(retort::detail::concat("Distiller: the plan gives a turn to ", what, ", but the policy has none"));
    }
  }

  Teacher teacher_;
  Student student_;
  Loss loss_;
  Censor censor_;
  Source source_;
  Predictor predictor_;
  std::conditional_t<loss_is_learned, std::unique_ptr<loss_state_type>, nn::NoState> loss_state_;
  Tensor<scalar, 2, context> answer_;  // the teacher's, between turns on one batch
};

}  // namespace retort
