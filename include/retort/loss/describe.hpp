#pragma once
// A loss as text, for what must agree between a run and its continuation: its type, and the numbers that losses usually have.

#include <retort/core/error.hpp>
#include <retort/loss/combine.hpp>
#include <string>

namespace retort::detail {

template <class L>
void append_loss(std::string& out, const L& loss);
inline void append_terms(std::string&, const loss::Sum<>&) {}
template <class First, class... Rest>
void append_terms(std::string& out, const loss::Sum<First, Rest...>& sum) {
  append_loss(out, sum.first);
  append_terms(out, sum.rest);
}

/// Behind the type's name: `; temperature 4` and the like, of the loss itself and of the losses that it is made of.
template <class L>
void append_loss(std::string& out, const L& loss) {
#define RETORT_APPEND_MEMBER(member)                       \
  if constexpr (requires { double(loss.member); })         \
    out += concat("; " #member " ", double(loss.member));
  RETORT_APPEND_MEMBER(temperature)
  RETORT_APPEND_MEMBER(teacher_temperature)
  RETORT_APPEND_MEMBER(weight)
  RETORT_APPEND_MEMBER(factor)
  RETORT_APPEND_MEMBER(alpha)
  RETORT_APPEND_MEMBER(beta)
  RETORT_APPEND_MEMBER(gamma)
  RETORT_APPEND_MEMBER(smoothing)
#undef RETORT_APPEND_MEMBER
  if constexpr (requires { append_terms(out, loss.terms()); })
    append_terms(out, loss.terms());
  else if constexpr (requires { append_terms(out, loss); })
    append_terms(out, loss);
  else if constexpr (requires { loss.loss; })
    append_loss(out, loss.loss);
}

template <class L>
std::string describe_loss(const L& loss) {
  const std::string whole = __PRETTY_FUNCTION__;  // "... [with L = TYPE; std::string = ...]", "... [L = TYPE]"
  const auto begin = whole.find("L = ") + 4, end = whole.find("; std::string", begin);
  std::string out = whole.substr(begin, (end == std::string::npos ? whole.rfind(']') : end) - begin);
  append_loss(out, loss);
  return out;
}

}  // namespace retort::detail
