#pragma once
// What every row-loss engine has to know of a loss at compile time, whatever the machine.

#include <cmath>
#include <retort/functor/row_loss.hpp>
#include <utility>

namespace retort::detail::rows {

/// What a pass over exponentials computes, as bits: a softmax of either side, the sums behind Row::forward_kl,
/// Row::reverse_kl, SoftmaxRow::mean_log_p and Row::cross_entropy, and whether a side's exponentials are kept for the cells.
inline constexpr unsigned of_student = 1, of_teacher = 2, with_forward = 4, with_reverse = 8, with_mean = 16, with_cross = 32,
                          keep_student = 64, keep_teacher = 128, keep_both = keep_student | keep_teacher;

inline constexpr double ln2 = 0.69314718055994530942, log2_e = 1.44269504088896340736;

/// A class's log-probability as a pass computed it. Where the class is all of the sum, what is left is rounding of either sign, up to a
/// few epsilon: 0 then. (WSLD divides by it.)
template <class T>
RETORT_HD T without_rounding(T log_p) {
  const T epsilon = sizeof(T) == sizeof(float) ? T(0x1p-23) : T(0x1p-52);  // nvcc has no numeric_limits on the device
  return log_p > -4 * epsilon ? T(0) : log_p;
}

/// What of a pass only its sums over the classes other than the label are for.
template <class Term>
constexpr unsigned other_bits() {
  return Term::needs.others ? of_student | of_teacher | with_forward | with_cross : 0;
}

/// The passes that a loss needs: [0] at its own temperature, [1] at one.
template <class Term, int At>
constexpr unsigned pass_bits() {
  constexpr RowNeeds n = Term::needs;
  constexpr unsigned student = of_student | keep_student, teacher = of_teacher | keep_teacher;
  constexpr unsigned mine = (n.student_softmax || n.others ? student : 0) | (n.teacher_softmax || n.others ? teacher : 0) |
                            (n.forward_kl ? with_forward : 0) | (n.reverse_kl ? with_reverse : 0) | (n.mean_log_p ? with_mean : 0) |
                            (n.cross_entropy ? with_cross : 0) | other_bits<Term>();
  static_assert((!n.forward_kl && !n.reverse_kl && !n.cross_entropy) || (n.student_softmax && n.teacher_softmax),
                "retort: a row loss that needs forward_kl, reverse_kl or cross_entropy also needs student_softmax and teacher_softmax");
  static_assert(!n.mean_log_p || n.student_softmax, "retort: a row loss that needs mean_log_p also needs student_softmax");
  static_assert(!n.label_at_one || n.labels, "retort: a row loss that needs label_at_one also needs labels");
  static_assert(!n.others || (n.labels && n.teacher && detail::Tempered<typename Term::loss_type>),
                "retort: a row loss that needs others also needs the teacher, labels and a member `temperature`");
  constexpr unsigned extra = (n.student_softmax_at_one ? student : 0) | (n.teacher_softmax_at_one ? teacher : 0) |
                             (n.label_at_one ? of_student | (n.teacher ? of_teacher : 0) : 0);
  if constexpr (detail::AtOwnTemperatures<typename Term::loss_type>)
    return At == 0 ? mine : extra;
  else
    return At == 0 ? 0 : mine | extra;
}

/// What the engine keeps of one loss while it works on a row.
template <class Term, class T>
struct TermState {
  using term = Term;
  using Loss = typename Term::loss_type;
  /// Generic losses run over any value type, plain ones over float; closed ones have no accumulator, prepared ones of these
  /// something else in its place.
  static constexpr bool generic = detail::GenericAcc<Loss>, plain = detail::PlainAcc<Loss>, closed = !generic && !plain;
  static constexpr bool prepared = closed && requires(const Loss& f, const Row<T>& row) { f.prepare(row); };
  static constexpr bool tempered = detail::AtOwnTemperatures<Loss>, by_row = detail::Tempered<Loss>;  ///< by_row: a batch's temperatures replace its own
  using Scalar = std::conditional_t<plain, float, T>;
  static auto new_acc() {
    if constexpr (generic)
      return typename Loss::template Acc<T>{};
    else if constexpr (plain)
      return typename Loss::Acc{};
    else if constexpr (prepared)
      return decltype(std::declval<const Loss&>().prepare(std::declval<const Row<T>&>())){};
    else
      return 0;
  }
  using Acc = decltype(new_acc());

  bool wanted = true;  ///< the row counts for this loss
  bool done = false;   ///< a round at its temperature was there
  bool active = true;  ///< it takes part in this round
  T coefficient{};     ///< factor * row weight / divisor
  T value{};
  Row<Scalar> row{};
  Acc acc{};
  Scalar extra[Term::needs.extras > 0 ? Term::needs.extras : 1] = {};
};

// The loss's functions, with the arguments that its kind takes.

/// Behind the accumulators: what finish() or prepare() makes of the row.
template <class Loss, class State>
RETORT_HD void conclude(const Loss& f, State& s) {
  if constexpr (State::prepared)
    s.acc = f.prepare(s.row);
  else if constexpr (requires { f.finish(s.acc, s.row); })
    s.acc = f.finish(s.acc, s.row);
}
template <class Loss, class State>
RETORT_HD auto value_of(const Loss& f, const State& s) {
  if constexpr (State::closed && !State::prepared)
    return f.value(s.row);
  else if constexpr (requires { f.value(s.acc, s.row); })
    return f.value(s.acc, s.row);
  else
    return f.value(s.acc);
}
/// grad(), or teacher_grad(), of a cell.
template <bool OfTeacher, class Loss, class State, class Cell>
RETORT_HD auto gradient_of(const Loss& f, const State& s, const Cell& c) {
  constexpr bool bare = State::closed && !State::prepared;
  if constexpr (OfTeacher && bare)
    return f.teacher_grad(c);
  else if constexpr (OfTeacher)
    return f.teacher_grad(s.acc, c);
  else if constexpr (bare)
    return f.grad(c);
  else
    return f.grad(s.acc, c);
}
template <class State, class Cell>
inline constexpr bool has_teacher_gradient = requires(const typename State::Loss& f, const State& s, const Cell& c) { f.teacher_grad(c); } ||
                                             requires(const typename State::Loss& f, const State& s, const Cell& c) { f.teacher_grad(s.acc, c); };
/// Adds the derivatives by the row's extras.
template <class Loss, class State, class T>
RETORT_HD void add_extra_gradients(const Loss& f, const State& s, T* out) {
  for (int k = 0; k < State::term::needs.extras; ++k) {
    if constexpr (requires { f.extra_grad(k, s.row); })
      out[k] += s.coefficient * T(f.extra_grad(k, s.row));
    else if constexpr (requires { f.extra_grad(k, s.acc, s.row); })
      out[k] += s.coefficient * T(f.extra_grad(k, s.acc, s.row));
  }
}

/// The temperatures of a round over a row.
template <class T>
struct Temperatures {
  T student{1}, teacher{1};
  RETORT_HD bool operator==(const Temperatures& o) const { return student == o.student && teacher == o.teacher; }
};
/// Those of a loss; `of_row` is the batch's own temperature of the row, or null.
template <class T, class Loss>
RETORT_HD Temperatures<T> temperatures_of(const Loss& f, const T* of_row) {
  Temperatures<T> out;
  if constexpr (detail::Tempered<Loss>) out.student = out.teacher = of_row ? *of_row : T(f.temperature);
  if constexpr (detail::TeacherTempered<Loss>) out.teacher = T(detail::teacher_temperature_of(f));
  return out;
}
/// The temperatures of the next round, and in `active` who takes part. One goes first: those softmaxes may serve all rounds.
/// `each` calls its argument with the number of every term, `loss` and `state` give the term with this number.
template <class T, class Each, class LossAt, class StateAt>
RETORT_HD Temperatures<T> choose_round(bool first, const T* of_row, const Each& each, const LossAt& loss, const StateAt& state) {
  Temperatures<T> round;
  bool found = false;
  each([&](auto i) {
    const auto& s = state(i);
    if (!s.tempered || !s.wanted || s.done) return;
    const Temperatures<T> mine = temperatures_of<T>(loss(i), of_row);
    if (!found || mine == Temperatures<T>{}) round = mine;
    found = true;
  });
  each([&](auto i) {
    auto& s = state(i);
    s.active = s.wanted && !s.done && (s.tempered ? temperatures_of<T>(loss(i), of_row) == round : first);
    s.done |= s.active;
  });
  return round;
}

}  // namespace retort::detail::rows
