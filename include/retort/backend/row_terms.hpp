#pragma once
// What every row-loss engine has to know of a loss at compile time, whatever the machine.

#include <cmath>
#include <retort/functor/row_loss.hpp>

namespace retort::detail::rows {

/// What a pass over exponentials computes, as bits: a softmax of either side, the sums behind Row::forward_kl,
/// Row::reverse_kl and SoftmaxRow::mean_log_p.
inline constexpr unsigned of_student = 1, of_teacher = 2, with_forward = 4, with_reverse = 8, with_mean = 16;

inline constexpr double ln2 = 0.69314718055994530942, log2_e = 1.44269504088896340736;

/// The passes that a loss needs: [0] at its own temperature, [1] at one.
template <class Term, int At>
constexpr unsigned pass_bits() {
  constexpr RowNeeds n = Term::needs;
  constexpr unsigned mine = (n.student_softmax ? of_student : 0) | (n.teacher_softmax ? of_teacher : 0) |
                            (n.forward_kl ? with_forward : 0) | (n.reverse_kl ? with_reverse : 0) | (n.mean_log_p ? with_mean : 0);
  static_assert((!n.forward_kl && !n.reverse_kl) || (n.student_softmax && n.teacher_softmax),
                "retort: a row loss that needs forward_kl or reverse_kl also needs student_softmax and teacher_softmax");
  static_assert(!n.mean_log_p || n.student_softmax, "retort: a row loss that needs mean_log_p also needs student_softmax");
  constexpr unsigned extra = (n.student_softmax_at_one ? of_student : 0) | (n.teacher_softmax_at_one ? of_teacher : 0);
  if constexpr (detail::Tempered<typename Term::loss_type>)
    return At == 0 ? mine : extra;
  else
    return At == 0 ? 0 : mine | extra;
}

/// What the engine keeps of one loss while it works on a row.
template <class Term, class T>
struct TermState {
  using term = Term;
  using Loss = typename Term::loss_type;
  /// Generic losses run over any value type, plain ones over float; closed ones have no accumulator.
  static constexpr bool generic = detail::GenericAcc<Loss>, plain = detail::PlainAcc<Loss>, closed = !generic && !plain;
  static constexpr bool tempered = detail::Tempered<Loss>;
  using Scalar = std::conditional_t<plain, float, T>;
  static auto new_acc() {
    if constexpr (generic)
      return typename Loss::template Acc<T>{};
    else if constexpr (plain)
      return typename Loss::Acc{};
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

}  // namespace retort::detail::rows
