#pragma once
// What a row loss is: a function of one row of student and teacher logits, written once as a few small functions, from
// which a backend makes one fused loop. It compiles as plain C++ and under nvcc.
//
// A loss of one's own needs `float` alone:
//
//   struct LogitMatching {
//     float weight = 1.f;
//     struct Acc { float s = 0; };
//     RETORT_HD Acc   identity() const { return {}; }
//     RETORT_HD Acc   add(Acc a, retort::Cell c) const { float d = c.z - c.t; a.s += d * d; return a; }
//     RETORT_HD Acc   merge(Acc a, Acc b) const { return {a.s + b.s}; }
//     RETORT_HD float value(Acc a) const { return 0.5f * weight * a.s; }
//     RETORT_HD float grad(Acc, retort::Cell c) const { return weight * (c.z - c.t); }
//   };
//
// What may be added to it, all optional:
//   static constexpr RowNeeds needs{...};   what the engine prepares: softmaxes, labels, extras (default: the teacher)
//   using reduction = TokenMean;            default BatchMean, for losses of one's own only
//   temperature                             a member: c.student and c.teacher are softmaxes at it; else at one
//   teacher_temperature                     a member, or a function: the teacher's softmax is at this one instead. Alone: the
//                                           student's is at one, and a batch's own temperatures change neither
//   finish(acc, row)                        once per row behind the last merge: from sums to what value and grad use
//   pointwise = true                        grad (and teacher_grad) look at this class's logits alone, not at sums: the
//                                           CPU then makes one pass of phases 3 and 4
//   value(acc, row)                         instead of value(acc): the row's statistics, see Row
//   keep(cell)                              a value per class that add and grad both use and that is dear: found in
//                                           c.kept, computed once (losses over a value type only)
//   teacher_grad(acc, cell)                 derivative by the teacher's logit; same form as grad
//   extra_grad(k, acc, row)                 derivative by extra number k of the row
//   grad that returns RowScaled{k, v}       k * v, k the same for all classes of the row: multiplied in once per row
//   static constexpr int temperature_power  the loss carries the factor temperature^power explicitly
//   static constexpr int least_classes      fewer classes are a typed error
//   static constexpr const char* name       for messages
// With `temperature`, a loss promises to depend on the logits through z / temperature and t / temperature only, apart
// from that factor; then its derivative by the temperature follows from grad and teacher_grad.
//
// A loss becomes a vector loop on the CPU when `Acc` and the functions are templates over the value type V (float or
// double, or a pack of them): no branches on values, but `select` (functor/math.hpp). A loss whose value follows from
// the row's statistics has no Acc, identity, add and merge at all, but value(row) and grad(cell): it costs no pass of
// its own. With prepare(row), called once per row, it has value(prepared, row) and grad(prepared, cell) instead. The losses
// in retort/loss/ are of these kinds.
//
// How a machine runs a sum of such losses, a row at a time:
//   1. maxima of the row;
//   2. for each distinct temperature, exp of the shifted logits and the sums in `needs` (one pass, exps kept);
//   3. add() over the cells, merge() over lanes or threads - only for losses with an Acc;
//   4. value(), then grad() over the cells.
// On a GPU a warp owns the row: phase 1 and 2 end in shuffles, the exps stay in registers (or are recomputed when the
// row is long), phase 3 ends in merge() over shuffled Accs, hence Acc is trivially copyable, and phase 4 is local.

#include <cmath>
#include <concepts>
#include <cstdint>
#include <retort/config.hpp>
#include <retort/functor/math.hpp>
#include <type_traits>

namespace retort {

/// What a row loss asks the engine to prepare. Everything not asked for costs nothing.
struct RowNeeds {
  bool teacher = false;                 ///< teacher logits: c.t
  bool labels = false;                  ///< c.is_label, row.label, row.student.log_p_label, ...
  bool student_softmax = false;         ///< c.student, row.student: at the loss's temperature, if it has one, else at one
  bool teacher_softmax = false;         ///< c.teacher, row.teacher: the same of the teacher
  bool student_softmax_at_one = false;  ///< c.student_at_one, row.student_at_one, for a loss with a temperature
  bool teacher_softmax_at_one = false;  ///< c.teacher_at_one, row.teacher_at_one
  bool forward_kl = false;              ///< row.forward_kl; needs both softmaxes
  bool reverse_kl = false;              ///< row.reverse_kl; needs both softmaxes
  bool cross_entropy = false;           ///< row.cross_entropy; needs both softmaxes
  bool mean_log_p = false;              ///< row.student.mean_log_p; needs student_softmax
  bool label_at_one = false;            ///< log_p_label of row.student_at_one, row.teacher_at_one, without the cells; needs labels
  bool others = false;                  ///< c.student_other, c.teacher_other, row.student_other, row.teacher_other,
                                        ///< row.other_kl, row.other_cross_entropy; needs teacher, labels and a temperature
  int extras = 0;                       ///< number of per-row extras: c.extra[0 .. extras)
};

/// Label of a row that takes no part in a `TokenMean` or `Masked` loss.
inline constexpr std::int32_t ignored_label = -100;

/// Sum over the classes, mean over the rows of the batch.
struct BatchMean {
  static constexpr bool skips_ignored_rows = false;
  static RETORT_HD constexpr double divisor(double rows, double, double) { return rows; }
};
/// Mean over rows and classes: BatchMean divided by the number of classes.
struct ElementMean {
  static constexpr bool skips_ignored_rows = false;
  static RETORT_HD constexpr double divisor(double rows, double, double classes) { return rows * classes; }
};
/// Sum over the classes (the vocabulary), mean over the rows whose label is not `ignored_label`. Without labels every
/// row counts; without such rows loss and gradient are 0.
struct TokenMean {
  static constexpr bool skips_ignored_rows = true;
  static RETORT_HD constexpr double divisor(double, double counted, double) { return counted; }
};

/// How a row loss is reduced over classes and rows.
template <class R>
concept ReductionPolicy = requires {
  { R::skips_ignored_rows } -> std::convertible_to<bool>;
  { R::divisor(1., 1., 1.) } -> std::convertible_to<double>;
};
#define RETORT_REDUCTION_MESSAGE                                                                                            \
  "retort: a loss names its reduction, for which there is no default: BatchMean, ElementMean or TokenMean; see "              \
  "retort/functor/row_loss.hpp"

namespace detail {

/// Stands where a policy without default was not named.
struct Unnamed {
  static constexpr int power = 0;
};

/// The types that go with a value type; a backend specialises it for its packs.
template <class V>
struct ValueTraits {
  using scalar = V;
  using mask = bool;
  using index = std::int32_t;
};

}  // namespace detail

/// One class of a softmax: probability and natural logarithm of it (finite where the probability underflows).
template <class V>
struct SoftmaxCell {
  V p{}, log_p{};
};

/// Of one softmax of a row.
template <class T>
struct SoftmaxRow {
  T log_p_label{};  ///< log-probability of the label (with needs.labels)
  T mean_log_p{};   ///< mean over the classes of the log-probabilities (with needs.mean_log_p, student only)
  T log_sum{};      ///< log of the sum of exp(z / temperature)
};

/// What is known of a row before its cells are looked at again. T is float or double.
template <class T>
struct Row {
  std::int64_t classes = 0;
  std::int32_t label = -1;  ///< -1 without labels
  T temperature{1};         ///< of this row: the loss's, or the batch's per-row temperature; 1 for a loss without
  SoftmaxRow<T> student{}, teacher{}, student_at_one{}, teacher_at_one{};
  T forward_kl{};  ///< KL(teacher || student) at the loss's temperature, without any factor
  T reverse_kl{};  ///< KL(student || teacher)
  T cross_entropy{};  ///< -sum p(teacher) log p(student)
  /// Of the softmaxes over the classes other than the label, at the loss's temperature. log_p_label is what the label's logit
  /// / T exceeds their log-sum-exp by: the log-odds of the label's probability, exact where that rounds to 0 or 1.
  SoftmaxRow<T> student_other{}, teacher_other{};
  T other_kl{}, other_cross_entropy{};  ///< forward_kl and cross_entropy of these
  const T* extra = nullptr;
};

/// One class of one row. What was not declared in `needs` is unspecified.
template <class V>
struct BasicCell {
  using scalar = typename detail::ValueTraits<V>::scalar;
  V z, t;                                        ///< student and teacher logit
  typename detail::ValueTraits<V>::index index;  ///< class
  typename detail::ValueTraits<V>::mask is_label;
  SoftmaxCell<V> student, teacher, student_at_one, teacher_at_one;
  const scalar* extra;  ///< per-row extras, the same for all classes
  const Row<scalar>& row;
  V kept{};  ///< what the loss's keep() gave for this class
  V student_other{}, teacher_other{};  ///< probabilities among the classes other than the label; unspecified at the label
};
using Cell = BasicCell<float>;

/// What grad() may return in place of a value: `value` times a factor that is the same for all classes of the row (a weight, T^2,
/// 1 / T). The engine then multiplies the factor into the row's weight, once per row and not once per class.
template <class V>
struct RowScaled {
  typename detail::ValueTraits<V>::scalar factor;
  V value;
  RETORT_HD operator V() const { return V(factor) * value; }
};
template <class S, class V>
RowScaled(S, V) -> RowScaled<V>;

namespace detail {

template <class L>
concept GenericAcc = requires { typename L::template Acc<float>; };
template <class L>
concept PlainAcc = requires { typename L::Acc; };

template <class L>
concept PlainRowLoss = PlainAcc<L> && std::is_trivially_copyable_v<typename L::Acc> &&
    requires(const L& loss, typename L::Acc a, const Cell& c, const Row<float>& row) {
      { loss.identity() } -> std::convertible_to<typename L::Acc>;
      { loss.add(a, c) } -> std::convertible_to<typename L::Acc>;
      { loss.merge(a, a) } -> std::convertible_to<typename L::Acc>;
      { loss.grad(a, c) } -> std::convertible_to<float>;
    } && (requires(const L& loss, typename L::Acc a) {{ loss.value(a) } -> std::convertible_to<float>;} ||
          requires(const L& loss, typename L::Acc a, const Row<float>& row) {{ loss.value(a, row) } -> std::convertible_to<float>;});

template <class L>
concept GenericRowLoss = GenericAcc<L> && std::is_trivially_copyable_v<typename L::template Acc<float>> &&
    requires(const L& loss, typename L::template Acc<float> a, const Cell& c) {
      { loss.template identity<float>() } -> std::same_as<typename L::template Acc<float>>;
      { loss.add(a, c) } -> std::same_as<typename L::template Acc<float>>;
      { loss.merge(a, a) } -> std::same_as<typename L::template Acc<float>>;
      { loss.grad(a, c) } -> std::convertible_to<float>;
    } && (requires(const L& loss, typename L::template Acc<float> a) {{ loss.value(a) } -> std::convertible_to<float>;} ||
          requires(const L& loss, typename L::template Acc<float> a, const Row<float>& row) {{ loss.value(a, row) } -> std::convertible_to<float>;});

template <class L>
concept ClosedRowLoss = !PlainAcc<L> && !GenericAcc<L> && requires(const L& loss, const Cell& c, const Row<float>& row) {
  { loss.value(row) } -> std::convertible_to<float>;
  { loss.grad(c) } -> std::convertible_to<float>;
};

template <class L>
concept PreparedRowLoss = !PlainAcc<L> && !GenericAcc<L> && requires(const L& loss, const Cell& c, const Row<float>& row) {
  { loss.value(loss.prepare(row), row) } -> std::convertible_to<float>;
  { loss.grad(loss.prepare(row), c) } -> std::convertible_to<float>;
};

template <class L>
concept LeafRowLoss = PlainRowLoss<L> || GenericRowLoss<L> || ClosedRowLoss<L> || PreparedRowLoss<L>;

template <class L>
RETORT_HD constexpr RowNeeds needs_of() {
  if constexpr (requires { L::needs; })
    return L::needs;
  else
    return {.teacher = true};
}
template <class L>
struct ReductionOf {
  using type = BatchMean;
};
template <class L>
  requires requires { typename L::reduction; }
struct ReductionOf<L> {
  using type = typename L::reduction;
};

template <class L>
concept Tempered = requires(const L& loss) { loss.temperature; };
template <class L>
concept TeacherTempered = requires(const L& loss) { loss.teacher_temperature; } || requires(const L& loss) { loss.teacher_temperature(); };
/// Its softmaxes are at temperatures of its own.
template <class L>
concept AtOwnTemperatures = Tempered<L> || TeacherTempered<L>;
template <class L>
RETORT_HD constexpr double teacher_temperature_of(const L& loss) {
  if constexpr (requires { loss.teacher_temperature(); })
    return loss.teacher_temperature();
  else
    return loss.teacher_temperature;
}

template <class L>
concept Pointwise = GenericAcc<L> && requires { requires L::pointwise; };

template <class L>
concept Keeping = GenericAcc<L> && requires(const L& loss, const Cell& c) { loss.keep(c); };

template <class L>
RETORT_HD constexpr int temperature_power_of() {
  if constexpr (requires { L::temperature_power; })
    return L::temperature_power;
  else
    return 0;
}
template <class L>
RETORT_HD constexpr const char* name_of() {
  if constexpr (requires { L::name; })
    return L::name;
  else
    return "of its own type";
}

}  // namespace detail
}  // namespace retort
