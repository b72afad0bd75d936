#pragma once
// Every public concept on one page: what a policy must have to fit a slot. The sentences that a wrong program gets stand
// beside the concepts; they say the role, the requirements and the page to read.

#include <retort/core/state.hpp>
#include <retort/data/gather.hpp>
#include <retort/functor/row_loss.hpp>
#include <retort/method/roles.hpp>
#include <retort/optim/optimizer.hpp>
#include <string>
#include <type_traits>

namespace retort {

namespace detail {
/// names_X<P>: whether P has a member of the name X, of whatever kind and signature. An optional hook with a wrong signature would
/// else never be called, and nobody would know. The name is looked up in a class with two bases: found in both, it is ambiguous.
#define RETORT_NAMES(name)                                                    \
  struct with_##name {                                                        \
    int name;                                                                 \
  };                                                                          \
  template <class P>                                                          \
  struct both_##name : P, with_##name {};                                     \
  template <class P>                                                          \
  inline constexpr bool names_##name = !requires { &both_##name<P>::name; };  \
  template <class P>                                                          \
    requires std::is_final_v<P>                                               \
  inline constexpr bool names_##name<P> = false
RETORT_NAMES(prepare);
RETORT_NAMES(plan);
RETORT_NAMES(build);
RETORT_NAMES(objective);
RETORT_NAMES(add_to_student);
RETORT_NAMES(before_step);
RETORT_NAMES(after_step);
RETORT_NAMES(visit_state);
RETORT_NAMES(take_turn);
RETORT_NAMES(on_train_begin);
RETORT_NAMES(on_step);
RETORT_NAMES(on_epoch_end);
RETORT_NAMES(on_train_end);
#undef RETORT_NAMES
}  // namespace detail
#define RETORT_HOOK_MESSAGE(hook)                                                                                     \
  "retort: a policy has a member of the name of a hook, but it cannot be called as the loop calls it, and so would never run; expected `" hook \
  "`; see retort/concepts.hpp"

/// A teacher answers for a batch. Members: `using role = retort::role::teacher`, `static constexpr bool differentiable`
/// (gradients with respect to its inputs exist), `answer(pass, batch)` giving logits or an Output with taps, `describe()`
/// (a text that names it in reports and checkpoints), and optionally `template <class T, class B, class Data> void prepare(const
/// Setup<B>&, const Data&)`. `answer` is `template <class T, class B, class Q> auto answer(Pass<T, B>& pass, const Q& question)`, with
/// the batch as `question.input` (a variable) and, for tables, `question.ids`; answers of one's own are memory of the tape that the
/// host fills, on any backend: `pass.tape.constant(pass.tape.from_host(Shape{n, classes}, [&](View<T, 2> out) { ... }))`. See
/// retort/teacher/frozen.hpp and cached.hpp.
template <class P>
concept TeacherPolicy = requires(const P& p) {
  typename P::role;
  requires std::is_same_v<typename P::role, role::teacher>;
  { P::differentiable } -> std::convertible_to<bool>;
  { p.describe() } -> std::convertible_to<std::string>;
};
#define RETORT_TEACHER_MESSAGE                                                                                            \
  "retort: the teacher slot needs a teacher policy: `using role = retort::role::teacher`, `differentiable`, "              \
  "`answer(pass, batch)` and `describe()`; see retort/teacher/frozen.hpp"

/// A student answers, owns the parameters that learn, and names its result. Members: `using role =
/// retort::role::student`, `answer(pass, batch)`, `parameters()`, `network()` (what learns; rolled back when `fit` fails), `result()`,
/// `visit_state(visitor)` (core/state.hpp), `describe()`; optionally
/// `before_step(exchange, loss)` (after backward, before the optimiser: it may add to gradients), `after_step()`, and a
/// `player` block. Derived from student::Trainable, a student needs only what it does otherwise; what it keeps besides must also be
/// shown by its `visit_state`, or a resumed run begins without. See retort/student/trainable.hpp, ema.hpp.
template <class P>
concept StudentPolicy = requires(P& p, const P& constant, const StateVisitor& visit) {
  typename P::role;
  requires std::is_same_v<typename P::role, role::student>;
  p.parameters();
  p.network();
  p.result();
  p.visit_state(visit);
  { constant.describe() } -> std::convertible_to<std::string>;
};
#define RETORT_STUDENT_MESSAGE                                                                                            \
  "retort: the student slot needs a student policy: `using role = retort::role::student`, `answer(pass, batch)`, "         \
  "`parameters()`, `network()`, `result()`, `visit_state(visitor)` and `describe()`; see retort/student/trainable.hpp"

/// A censor decides what is withheld, re-weighted or gated. Members: `using role = retort::role::censor`, `describe()` and
/// `apply(exchange)`, which may set weights, temperatures and extras; a learned one adds `prepare`, `objective(exchange,
/// loss)`, `learner()`, and `plan` or `learns_with_student`; `add_to_student(exchange, loss, value)` may extend the
/// student's objective. Weights, temperatures and extras reach row losses. Losses that compare features or whole batches (OnTaps,
/// Dist, Contrastive, MultiLevel's batch part) count every row: to withhold rows from these, withhold them from the batch, in a
/// source. See retort/censor/none.hpp and guide.hpp.
template <class P>
concept CensorPolicy = requires(const P& p) {
  typename P::role;
  requires std::is_same_v<typename P::role, role::censor>;
  { p.describe() } -> std::convertible_to<std::string>;
};
#define RETORT_CENSOR_MESSAGE                                                                                             \
  "retort: the censor slot needs a censor policy: `using role = retort::role::censor`, `apply(exchange)` and "             \
  "`describe()`; see "                                                                                                       \
  "retort/censor/none.hpp"

/// A source hands out batches. Members: `using role = retort::role::source`, `needs_input_gradient` (it differentiates
/// through the teacher), `describe()`, and `template <class T, class B, class Data> State`, made from `(policy, const Setup<B>&, const
/// Data&)`, with `using batch_type` (source::Batch<T, Rank>: inputs, labels or none, positions in the data set or none), `void
/// begin(std::uint64_t pass)`, `bool next(batch_type&)` (false at the end of the pass; the memory stays the state's) and `index_t
/// batches()`, at least 1; optionally `take_turn` and `visit_state(visitor)`. See retort/source/dataset.hpp and generator.hpp.
template <class P>
concept SourcePolicy = requires(const P& p) {
  typename P::role;
  requires std::is_same_v<typename P::role, role::source>;
  { P::needs_input_gradient } -> std::convertible_to<bool>;
  { p.describe() } -> std::convertible_to<std::string>;
};
/// What a source hands batches out of.
template <class S>
concept SourceState = requires(S& s, typename S::batch_type& batch) {
  s.begin(std::uint64_t{});
  { s.next(batch) } -> std::same_as<bool>;
  { s.batches() } -> std::convertible_to<index_t>;
};
#define RETORT_SOURCE_MESSAGE                                                                                             \
  "retort: the source slot needs a source policy: `using role = retort::role::source`, `needs_input_gradient`, "           \
  "`describe()` and `State<T, B, Data>` with batch_type, begin, next and batches; see retort/source/dataset.hpp"

/// A predictor says how the distilled model answers. Members: `using role = retort::role::predictor` and
/// `answer(pass, network, batch)`; optionally `build(teacher)`, called once the teacher is prepared (a base of what it knows). See
/// retort/predict/student_only.hpp and retrieval.hpp.
template <class P>
concept PredictorPolicy = requires {
  typename P::role;
  requires std::is_same_v<typename P::role, role::predictor>;
};
#define RETORT_PREDICTOR_MESSAGE                                                                                          \
  "retort: the predictor slot needs a predictor policy: `using role = retort::role::predictor` and "                       \
  "`answer(pass, network, batch)`; see retort/predict/student_only.hpp"

/// An optimiser: hyper-parameters `lr`, `schedule`, `clip`, a `State<T, B>` with `visit_state(visitor)`, `make<T, B>(parameters)`, `step(state,
/// backend, parameters, rate)`, which passes over parameters whose `slot->written` is false and sets it to false for the others,
/// and `describe()`. See retort/optim/optimizer.hpp.
template <class O>
concept OptimizerPolicy = requires(const O& o) {
  { o.lr } -> std::convertible_to<double>;
  { o.schedule } -> std::convertible_to<optim::Schedule>;
  { o.clip } -> std::convertible_to<optim::Clip>;
  { o.describe() } -> std::convertible_to<std::string>;
};
#define RETORT_OPTIMIZER_MESSAGE                                                                                          \
  "retort: fit needs an optimiser policy: members `lr`, `schedule` and `clip`, a `State<T, B>`, `make`, `step` and `describe()`; see "   \
  "retort/optim/optimizer.hpp"

/// Data that `fit` can draw from: a retort::Dataset, one seen through data::augmented, a NodeDataset or GraphDataset, or
/// data::None for data-free sources. See retort/data/gather.hpp.
template <class D>
concept TrainingData = std::is_same_v<D, data::None> || requires(const D& d) {
  { data::base(d).size() } -> std::convertible_to<index_t>;
  data::base(d).labels;
};
#define RETORT_DATA_MESSAGE                                                                                               \
  "retort: fit needs training data: a retort::Dataset, one seen through data::augmented, or data::None; see retort/data/gather.hpp"

}  // namespace retort
