#pragma once
// Every public concept on one page: what a policy must have to fit a slot. The sentences that a wrong program gets stand
// beside the concepts; they say the role, the requirements and the page to read.

#include <retort/data/gather.hpp>
#include <retort/functor/row_loss.hpp>
#include <retort/method/roles.hpp>
#include <retort/optim/optimizer.hpp>

namespace retort {

/// A teacher answers for a batch. Members: `using role = retort::role::teacher`, `static constexpr bool differentiable`
/// (gradients with respect to its inputs exist), `answer(pass, batch)` giving logits or an Output with taps, `describe()`
/// (a text that names it in reports and checkpoints), and optionally `prepare<T>(setup, data)`. See retort/teacher/frozen.hpp.
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
/// `visit_state(f)`, `describe()`; optionally
/// `before_step(exchange, loss)` (after backward, before the optimiser: it may add to gradients), `after_step()`, and a
/// `player` block. See retort/student/trainable.hpp.
template <class P>
concept StudentPolicy = requires(P& p, const P& constant) {
  typename P::role;
  requires std::is_same_v<typename P::role, role::student>;
  p.parameters();
  p.network();
  p.result();
  { constant.describe() } -> std::convertible_to<std::string>;
};
#define RETORT_STUDENT_MESSAGE                                                                                            \
  "retort: the student slot needs a student policy: `using role = retort::role::student`, `answer(pass, batch)`, "         \
  "`parameters()`, `network()`, `result()` and `describe()`; see retort/student/trainable.hpp"

/// A censor decides what is withheld, re-weighted or gated. Members: `using role = retort::role::censor`, `describe()` and
/// `apply(exchange)`, which may set weights, temperatures and extras; a learned one adds `prepare`, `objective(exchange,
/// loss)`, `learner()`, and `plan` or `learns_with_student`; `add_to_student(exchange, loss, value)` may extend the
/// student's objective. See retort/censor/none.hpp and guide.hpp.
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
/// through the teacher), `describe()`, and `State<T, B, Data>` with `begin(rng)`, `next(batch)`, `batches()`. See
/// retort/source/dataset.hpp.
template <class P>
concept SourcePolicy = requires(const P& p) {
  typename P::role;
  requires std::is_same_v<typename P::role, role::source>;
  { P::needs_input_gradient } -> std::convertible_to<bool>;
  { p.describe() } -> std::convertible_to<std::string>;
};
#define RETORT_SOURCE_MESSAGE                                                                                             \
  "retort: the source slot needs a source policy: `using role = retort::role::source`, `needs_input_gradient`, "           \
  "`describe()` and `State<T, B, Data>` with begin, next and batches; see retort/source/dataset.hpp"

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

/// An optimiser: hyper-parameters `lr`, `schedule`, `clip`, a `State<T, B>`, `make` and `step`. See
/// retort/optim/optimizer.hpp.
template <class O>
concept OptimizerPolicy = requires(const O& o) {
  { o.lr } -> std::convertible_to<double>;
  { o.schedule } -> std::convertible_to<optim::Schedule>;
  { o.clip } -> std::convertible_to<optim::Clip>;
};
#define RETORT_OPTIMIZER_MESSAGE                                                                                          \
  "retort: fit needs an optimiser policy: members `lr`, `schedule` and `clip`, a `State<T, B>`, `make` and `step`; see "   \
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
