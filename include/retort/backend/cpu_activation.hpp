#pragma once
// Activations over flat arrays.

#include <retort/backend/cpu_common.hpp>
#include <retort/backend/cpu_elementwise.hpp>
#include <retort/backend/simd_math.hpp>
#include <retort/functor/activation.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// One bool, or a lane mask of V, from bytes that are 0 or not.
template <class V>
RETORT_INLINE auto load_mask(const std::uint8_t* p) {
  if constexpr (std::is_arithmetic_v<V>) {
    return *p != 0;
  } else {
    typedef std::uint8_t bytes __attribute__((vector_size(V::lanes), aligned(1), may_alias));
    using Mask = typename V::mask_type;
    return __builtin_convertvector(*reinterpret_cast<const bytes*>(p), Mask) != Mask{};
  }
}

/// A functor with `value`, `derivative` and `kink`: see functor/activation.hpp. y may be x.
struct ActivationKernels {
  /// y = f(x).
  template <class F, class T>
  static void activation_forward(Cpu& cpu, const F& f, In<T, 1> x, View<T, 1> y) {
    cpu.parallel(y.size(), grain, [=](index_t begin, index_t end, int) {
      for_lanes<T>(begin, end,
                   [&]<class V>(index_t i, V*) { store_as(y.data + i, f.template value<V>(load_as<V>(x.data + i))); });
    });
  }

  /// dx = (dx +) dy * f'(x), with y = f(x) for functions whose derivative is cheaper from it. A `mask` (one byte an
  /// element, see kink_mask) replaces the sign test of a function with a kink.
  template <class F, class T>
  static void activation_backward(Cpu& cpu, const F& f, In<T, 1> x, In<T, 1> y, In<T, 1> dy, View<T, 1> dx, Write write,
                                  const std::uint8_t* mask = nullptr) {
    if (mask != nullptr && F::kink) {
      backward<T>(cpu, dy, dx, write, [=]<class V>(index_t i, V*) {
        if constexpr (F::kink) return f.template branch_derivative<V>(load_mask<V>(mask + i));
        else return V(0);
      });
    } else {
      backward<T>(cpu, dy, dx, write, [=]<class V>(index_t i, V*) {
        return f.template derivative<V>(load_as<V>(x.data + i), load_as<V>(y.data + i));
      });
    }
  }

  /// y = f(x) on the branches that `mask` records, instead of those that the sign of x selects.
  template <class F, class T>
  static void activation_forward_masked(Cpu& cpu, const F& f, In<T, 1> x, View<T, 1> y, const std::uint8_t* mask) {
    static_assert(F::kink, "retort: activation_forward_masked replays the branches of an activation with a kink");
    cpu.parallel(y.size(), grain, [=](index_t begin, index_t end, int) {
      for_lanes<T>(begin, end, [&]<class V>(index_t i, V*) {
        store_as(y.data + i, f.branch_value(load_as<V>(x.data + i), load_mask<V>(mask + i)));
      });
    });
  }

  /// mask[i] = x[i] > 0.
  template <class T>
  static void kink_mask(Cpu& cpu, View<const T, 1> x, std::uint8_t* mask) {
    cpu.parallel(x.size(), grain, [=](index_t begin, index_t end, int) {
      for (index_t i = begin; i < end; ++i) mask[i] = x.data[i] > T(0);
    });
  }

 private:
  static constexpr index_t grain = 1 << 13;

  template <class T, class D>
  static void backward(Cpu& cpu, View<const T, 1> dy, View<T, 1> dx, Write write, D&& derivative) {
    cpu.parallel(dx.size(), grain, [=](index_t begin, index_t end, int) {
      for_lanes<T>(begin, end, [&]<class V>(index_t i, V* tag) {
        const V g = load_as<V>(dy.data + i) * derivative(i, tag);
        store_as(dx.data + i, write == Write::add ? load_as<V>(dx.data + i) + g : g);
      });
    });
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
