#pragma once
// Values of several types side by side, like std::tuple, at a sixth of what it costs a compiler: a network of fourteen layers instantiates one for the
// layers and one for each scalar type's states.

#include <cstddef>
#include <utility>

namespace retort::detail {

template <std::size_t I, class T>
struct Slot {
  T value;
};
template <class Indices, class... Ts>
struct Slots;
template <std::size_t... I, class... Ts>
struct Slots<std::index_sequence<I...>, Ts...> : Slot<I, Ts>... {
  /// f(value, value, ...), in order.
  template <class F>
  constexpr decltype(auto) apply(F&& f) {
    return f(this->Slot<I, Ts>::value...);
  }
  template <class F>
  constexpr decltype(auto) apply(F&& f) const {
    return f(this->Slot<I, Ts>::value...);
  }
};

/// An aggregate: `Tuple<A, B>{{make_a()}, {make_b()}}` evaluates from left to right. `get<I>(tuple)`, unqualified, finds a value.
template <class... Ts>
using Tuple = Slots<std::index_sequence_for<Ts...>, Ts...>;

template <std::size_t I, class T>
constexpr T& get(Slot<I, T>& s) {
  return s.value;
}
template <std::size_t I, class T>
constexpr const T& get(const Slot<I, T>& s) {
  return s.value;
}

}  // namespace retort::detail
