#pragma once
// What a guide pays for its help: the budget of DiSK and the partition term.

#include <limits>
#include <retort/autograd/ops_nn.hpp>
#include <retort/censor/multiplier.hpp>
#include <retort/loss/scaffolded_soft_targets.hpp>
#include <type_traits>

namespace retort::censor {

/// The class whose cross-entropy the student is charged for.
struct TrueLabel {
  template <class E>
  static View<const std::int32_t, 1> of(E& exchange) { return exchange.labels; }
  static std::string describe() { return "label"; }
};
struct TeacherArgmax {
  template <class E>
  static View<const std::int32_t, 1> of(E& exchange) {
    const auto logits = result_of(exchange.teacher).value;
    auto* index = exchange.tape.template allocate_raw<std::int32_t>(logits.extent(0));
    using B = typename std::remove_reference_t<decltype(exchange.tape)>::backend_type;
    Kernels<B>::arg_max_rows(exchange.tape.backend(), logits, index);
    return {index, {logits.extent(0)}};
  }
  static std::string describe() { return "teacher's class"; }
};

/// What the sum of the charges is divided by: the batch, or the samples in it that the student gets wrong, at least 1.
struct PerSample {
  static constexpr double default_max_ce = std::numeric_limits<double>::max();
  static double of(index_t samples, index_t) { return static_cast<double>(samples); }
  static std::string describe() { return "sample"; }
};
struct PerError {
  static constexpr double default_max_ce = 5;
  static double of(index_t, index_t errors) { return static_cast<double>(errors > 1 ? errors : 1); }
  static std::string describe() { return "error"; }
};

/// The partition term c * mean log(1 + K g). Since sum_y (p_y + g m_y) is about 1 + K g, it is what makes the helped
/// probabilities add up to one again. Only on the hint's own scale (c = weight * T_s * T_t) does it send help to samples
/// with p < 1/K and away from the others; in the authors' code (c = weight) it hardly does.
struct NoPartition {
  static double weight(const loss::ScaffoldedHint&) { return 0; }
  static std::string describe() { return "no partition term"; }
};
struct CodeScale {
  static double weight(const loss::ScaffoldedHint& hint) { return hint.weight; }
  static std::string describe() { return "partition term on the code's scale"; }
};
struct CommonScale {
  static double weight(const loss::ScaffoldedHint& hint) { return hint.scale(); }
  static std::string describe() { return "partition term on the hint's scale"; }
};

namespace detail {
template <class Help>
const loss::Scaffolded<Help>& scaffold(const loss::Scaffolded<Help>& loss) { return loss; }
template <class L>
inline constexpr bool is_scaffold = false;
template <class Help>
inline constexpr bool is_scaffold<loss::Scaffolded<Help>> = true;
template <class... L>
const auto& scaffold(const loss::Joint<L...>& joint) {
  static_assert((int(is_scaffold<L>) + ... + 0) == 1,
                "retort: censor::Guide gates loss::ScaffoldedSoftTargets (or loss::ScaffoldedPoster), and the loss slot must hold one, "
                "alone or in a loss::Joint; see retort/censor/guide.hpp");
  constexpr std::size_t at = [] {
    const bool is[] = {is_scaffold<L>...};
    std::size_t i = 0;
    while (!is[i]) ++i;
    return i;
  }();
  return retort::detail::get<at>(joint.losses);
}
}  // namespace detail

/// The gated part of a method's loss: the loss itself, or a member of a loss::Joint.
template <class L>
const auto& scaffold_of(const L& loss) {
  static_assert(requires { detail::scaffold(loss); },
                "retort: censor::Guide gates loss::ScaffoldedSoftTargets (or loss::ScaffoldedPoster), and the loss slot must hold one, "
                "alone or in a loss::Joint; see retort/censor/guide.hpp");
  return detail::scaffold(loss);
}

/// lambda * max(0, B - delta) + c * mean log(1 + K g), where B = (1/norm) sum_i g_i min(CE_i, max_ce) and CE_i is the
/// student's cross-entropy, at temperature one, with the reference class. Differentiable by gates and student logits.
template <class Reference = TeacherArgmax, class Norm = PerError, class Partition = CommonScale, class Price = CosinePrice>
struct Penalty {
  Price price{};
  Budget budget{};
  double max_ce = Norm::default_max_ce;

  /// What the penalty saw of one batch.
  struct Record {
    double used = 0, price = 0, budget = 0;  ///< B, lambda, delta
    double help = 0, help_on_errors = 0;     ///< mean gate, of all samples and of those the student gets wrong
    index_t errors = 0;
  };

  /// Throws value_error for a negative budget or price, or a clip that is not positive.
  void validate() const {
    price.validate();
    budget.validate();
    require<value_error>(max_ce > 0, "censor::Penalty: expected max_ce above 0, got ", max_ce);
  }

  template <class E, class Loss>
  auto evaluate(E& exchange, const Loss& loss, Record& record) {
    auto& tape = exchange.tape;
    const auto student = result_of(exchange.student);
    const auto gate = exchange.extras;
    using T = typename decltype(exchange.extras)::value_type;
    using B = typename std::remove_reference_t<decltype(tape)>::backend_type;
    const index_t samples = student.extent(0);
    require<shape_error>(exchange.labels.size() == samples, "censor::Penalty: expected a label for each of ", samples, " samples, got ",
                         exchange.labels.size());
    const View<T, 2> wrong = tape.allocate(Shape<2>{samples, 1});
    record.errors = Kernels<B>::mark_errors(tape.backend(), student.value, exchange.labels, wrong);

    auto charge = scale(tape, T(-1), pick_columns(tape, log_softmax(tape, student), Reference::of(exchange)));
    if (max_ce < static_cast<double>(std::numeric_limits<T>::max())) charge = clip_above(tape, charge, static_cast<T>(max_ce));
    const auto used = scale(tape, static_cast<T>(1 / Norm::of(samples, record.errors)), sum(tape, multiply(tape, gate, charge)));
    record.price = price.value(exchange.progress.epoch);
    record.budget = budget.value(exchange.progress.epoch);
    record.used = static_cast<double>(tape.item(used));
    {
      NoGrad off(tape);
      record.help = static_cast<double>(tape.item(mean(tape, gate)));
      record.help_on_errors = static_cast<double>(tape.item(sum(tape, multiply(tape, gate, tape.constant(wrong))))) /
                              static_cast<double>(std::max<index_t>(1, record.errors));
    }
    const auto excess = activate(tape, functor::Relu{}, add_constant(tape, used, static_cast<T>(-record.budget)));
    const auto fine = scale(tape, static_cast<T>(record.price), excess);
    const auto& scaffold = scaffold_of(loss);
    const double c = Partition::weight(scaffold.hint);
    if (c == 0) return fine;
    const auto k = static_cast<T>(scaffold.help.of(student.extent(1)));
    return add(tape, fine, scale(tape, static_cast<T>(c), mean(tape, activate(tape, functor::LogOnePlus{}, scale(tape, k, gate)))));
  }

  std::string describe() const {
    return retort::detail::concat("penalty on the ", Reference::describe(), " per ", Norm::describe(), ", at most ", max_ce, ", ",
                                  Partition::describe(), ", ", price.describe(), ", ", budget.describe());
  }
};

}  // namespace retort::censor
