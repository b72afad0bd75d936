#pragma once

#include <retort/autograd/ops_nn.hpp>
#include <retort/functor/distance.hpp>
#include <retort/method/roles.hpp>
#include <tuple>

namespace retort::teacher {

/// The mean of the members' logits (TextBrewer's multi-teacher mode; the shuffled ensemble of ABD). Differentiable.
struct LogitMean {
  static constexpr bool differentiable = true;
  template <class T, class B, class... V>
  Var<T, 2> operator()(Tape<T, B>& tape, Var<T, 2> first, V... rest) const {
    Var<T, 2> total = first;
    ((total = add(tape, total, rest)), ...);
    return scale(tape, T(1) / T(1 + sizeof...(rest)), total);
  }
  std::string describe() const { return "mean of logits"; }
};
/// Logits z with softmax(z / temperature) = the mean of the members' softmax(t / temperature): averaging probabilities is
/// what minimises the mean KL to the members. `temperature` must be the soft-target loss's.
struct ProbabilityMean {
  double temperature = 4;
  static constexpr bool differentiable = false;  ///< the table of mixed probabilities is a constant
  template <class T, class B, class... V>
  Var<T, 2> operator()(Tape<T, B>& tape, Var<T, 2> first, V... rest) const {
    require<value_error>(temperature > 0, "teacher::ProbabilityMean: expected a temperature above 0, got ", temperature);
    NoGrad off(tape);
    const T inverse = static_cast<T>(1 / temperature);
    auto p = [&](Var<T, 2> z) { return softmax(tape, scale(tape, inverse, z)); };
    Var<T, 2> total = p(first);
    ((total = add(tape, total, p(rest))), ...);
    // the smallest number keeps the logarithm finite where every member underflows
    const auto mean = add_constant(tape, scale(tape, T(1) / T(1 + sizeof...(rest)), total), std::numeric_limits<T>::min());
    return scale(tape, static_cast<T>(temperature), activate(tape, functor::Log{}, mean));
  }
  std::string describe() const { return retort::detail::concat("mean of probabilities at ", temperature); }
};

/// Several teachers answer as one. How their answers are averaged has no default: it changes the target.
template <class Average, class... Teachers>
class Ensemble {
  static_assert(sizeof...(Teachers) >= 1, "retort: teacher::Ensemble needs at least one teacher behind its averaging policy");

 public:
  using role = retort::role::teacher;
  static constexpr bool differentiable = Average::differentiable && (Teachers::differentiable && ...);
  template <class B2>
  using rebind = Ensemble<Average, typename Teachers::template rebind<B2>...>;

  explicit Ensemble(Average average, Teachers... teachers) : average_(average), teachers_(std::move(teachers)...) {}

  template <class T, class B, class Data>
  void prepare(const Setup<B>& setup, const Data& data) {
    std::apply([&](auto&... t) { (prepare_one<T>(t, setup, data), ...); }, teachers_);
  }
  template <class T, class B, class E>
  Var<T, 2> answer(Pass<T, B>& pass, const E& batch) {
    return std::apply(
        [&](auto&... t) {
          return [&](auto first, auto... rest) {
            const auto same = [&](const auto& z) {
              require<shape_error>(z.shape() == first.shape(), "teacher::Ensemble: one member answers with ", to_string(first.shape()), ", another with ",
                                   to_string(z.shape()), "; an ensemble averages over the same classes");
            };
            (same(rest), ...);
            return average_(pass.tape, first, rest...);
          }(result_of(t.answer(pass, batch))...);
        },
        teachers_);
  }
  std::string describe() const {
    std::string out = "ensemble of";
    std::apply([&](const auto&... t) { ((out += " [" + t.describe() + "]"), ...); }, teachers_);
    if constexpr (requires { average_.describe(); }) out += ", " + average_.describe();
    return out;
  }

 private:
  template <class T, class Member, class B, class Data>
  static void prepare_one(Member& member, const Setup<B>& setup, const Data& data) {
    if constexpr (requires { member.template prepare<T>(setup, data); }) member.template prepare<T>(setup, data);
  }
  Average average_;
  std::tuple<Teachers...> teachers_;
};

}  // namespace retort::teacher
