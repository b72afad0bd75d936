#pragma once
// Sums of row losses are row losses, evaluated in one pass over the logits.

#include <retort/functor/row_loss.hpp>
#include <type_traits>
#include <utility>

namespace retort {
namespace loss {

/// The sum of row losses: `Sum{a, b, c}`. The losses share the row's maxima and softmaxes.
template <class... Losses>
struct Sum;
template <>
struct Sum<> {};
template <class First, class... Rest>
struct Sum<First, Rest...> {
  constexpr Sum() = default;
  RETORT_HD constexpr explicit(sizeof...(Rest) == 0) Sum(First f, Rest... r) : first(f), rest(r...) {}
  RETORT_HD constexpr Sum(First f, Sum<Rest...> r) : first(f), rest(r) {}
  First first{};
  Sum<Rest...> rest{};
};
template <class... Losses>
Sum(Losses...) -> Sum<Losses...>;

/// factor * loss; the factor may be negative (a generator maximises what the student minimises).
template <class Loss>
struct Scaled {
  Loss loss;
  double factor = 1;
};
template <class Loss>
Scaled(Loss, double) -> Scaled<Loss>;

/// The loss over the rows that count: where the batch's `mask` is not 0 or, in a batch without mask, where the label is
/// not `ignored_label`. Other rows give value and gradient 0. The reduction still divides by what it always divides by
/// (BatchMean: all rows); use TokenMean to divide by the number of labelled rows.
template <class Loss>
struct Masked {
  Loss loss;
};
template <class Loss>
Masked(Loss) -> Masked<Loss>;

}  // namespace loss

namespace detail {

/// A leaf of a sum with the product of the factors above it.
template <class Loss, bool IsMasked>
struct RowTerm {
  using loss_type = Loss;
  using reduction = typename ReductionOf<Loss>::type;
  static constexpr bool masked = IsMasked;
  static constexpr RowNeeds needs = needs_of<Loss>();
  Loss loss;
  double factor;
};

/// Entry I of a sum.
template <int I, class First, class... Rest>
RETORT_HD constexpr const auto& get(const loss::Sum<First, Rest...>& sum) {
  if constexpr (I == 0)
    return sum.first;
  else
    return get<I - 1>(sum.rest);
}

template <class... B>
constexpr loss::Sum<B...> concatenate(loss::Sum<>, const loss::Sum<B...>& b) {
  return b;
}
template <class First, class... Rest, class... B>
constexpr loss::Sum<First, Rest..., B...> concatenate(const loss::Sum<First, Rest...>& a, const loss::Sum<B...>& b) {
  return {a.first, concatenate(a.rest, b)};
}

/// A loss as a flat sum of its leaves: sums, scalings, masks and aggregates with `terms()` are opened up.
template <bool IsMasked, class L>
constexpr auto leaves(const L& loss, double factor);

template <bool IsMasked>
constexpr loss::Sum<> open(const loss::Sum<>&, double) {
  return {};
}
template <bool IsMasked, class First, class... Rest>
constexpr auto open(const loss::Sum<First, Rest...>& sum, double factor) {
  return concatenate(leaves<IsMasked>(sum.first, factor), leaves<IsMasked>(sum.rest, factor));
}
template <bool IsMasked, class L>
constexpr auto open(const loss::Scaled<L>& scaled, double factor) {
  return leaves<IsMasked>(scaled.loss, factor * scaled.factor);
}
template <bool IsMasked, class L>
constexpr auto open(const loss::Masked<L>& masked, double factor) {
  return leaves<true>(masked.loss, factor);
}
template <bool IsMasked, class L>
constexpr auto leaves(const L& loss, double factor) {
  if constexpr (requires { loss.terms(); })
    return leaves<IsMasked>(loss.terms(), factor);
  else if constexpr (requires { detail::open<IsMasked>(loss, factor); })
    return detail::open<IsMasked>(loss, factor);
  else
    return loss::Sum<RowTerm<L, IsMasked>>{RowTerm<L, IsMasked>{loss, factor}};
}

/// All leaves of a type are row losses.
template <class Leaves>
inline constexpr bool all_row_losses = false;
template <class... Terms>
inline constexpr bool all_row_losses<loss::Sum<Terms...>> =
    (sizeof...(Terms) > 0) && (LeafRowLoss<typename Terms::loss_type> && ...);

}  // namespace detail

/// A row loss (see functor/row_loss.hpp), or a sum of row losses made with Sum, Scaled and Masked, or an aggregate whose
/// `terms()` returns one.
template <class L>
concept RowLoss = detail::all_row_losses<decltype(detail::leaves<false>(std::declval<const L&>(), 1.))>;

}  // namespace retort
