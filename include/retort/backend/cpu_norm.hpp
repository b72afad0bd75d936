#pragma once
// Per-channel normalisation on the CPU over rows [pixels or samples][C].

#include <cstdint>
#include <retort/backend/cpu_columns.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Normalization {
  /// Mean and biased variance of each column, C entries each. Safe when |mean| is much larger than the deviation.
  template <class T>
  static void batch_norm_statistics(Cpu& cpu, In<T, 2> x, T* mean, Pointer<T> variance) {
    const index_t rows = x.extent(0), channels = x.extent(1), grain = row_grain(channels);
    const int parts = cpu.slices(rows, grain);
    ArenaScope scope(cpu.scratch());
    T* const others = cpu.scratch().template allocate<T>((parts - 1) * 2 * channels);
    std::fill_n(mean, channels, T{0});
    std::fill_n(variance, channels, T{0});
    cpu.parallel(rows, grain, [&](index_t first, index_t last, int worker) {
      T* const m = worker == 0 ? mean : others + (worker - 1) * 2 * channels;
      T* const squares = worker == 0 ? variance : m + channels;
      if (worker > 0) std::fill_n(m, 2 * channels, T{0});
      each_block<T>(first, last, channels, [&](index_t r0, index_t r1) {
        each_vector<T>(channels, [&](index_t c, auto width) {
          const auto at = [&](index_t r) { return load(x.data + r * channels + c, width); };
          using P = simd::Native<T>;
          using Terms = std::array<P, 1>;
          const P centre = sum_rows<1, P>(r0, r1, [&](index_t r) { return Terms{at(r)}; })[0] / static_cast<T>(r1 - r0);
          const P spread = sum_rows<1, P>(r0, r1, [&](index_t r) {
            const P d = at(r) - centre;
            return Terms{d * d};
          })[0];
          merge(m + c, squares + c, r0 - first, centre, spread, r1 - r0, width);
        });
      });
    });
    for (int part = 1; part < parts; ++part) {
      const T* m = others + (part - 1) * 2 * channels;
      const index_t first = rows * part / parts, last = rows * (part + 1) / parts;  // as Cpu::parallel cuts them
      each_vector<T>(channels, [&](index_t c, auto width) {
        merge(mean + c, variance + c, first, load(m + c, width), load(m + channels + c, width), last - first, width);
      });
    }
    for (index_t c = 0; c < channels; ++c) variance[c] /= static_cast<T>(std::max<index_t>(rows, 1));
  }

  /// y = x * scale + shift per column, then the epilogue.
  template <class T>
  static void scale_shift(Cpu& cpu, In<T, 2> x, Pointer<const T> scale, Pointer<const T> shift, View<T, 2> y,
                          Epilogue epilogue = Epilogue::none) {
    check_shape("scale_shift", x.shape, y.shape);
    const index_t channels = x.extent(1);
    using P = simd::Native<T>;
    map_rows<T>(cpu, x.extent(0), channels, [&](index_t c, auto width) {
      const P a = load(scale + c, width), b = load(shift + c, width);
      return [=](index_t r) {
        const P v = fma(load(x.data + r * channels + c, width), a, b);
        store(y.data + r * channels + c, epilogue == Epilogue::relu ? max(P(T{0}), v) : v, width);
      };
    });
  }

  /// Gradient of batch norm in training mode, through the batch's own statistics. With Epilogue::relu the gradient
  /// passes where y > 0, or where `mask` is not 0 when a mask is given. dgamma = (dgamma +) sum g (x - mean) inv_std,
  /// dbeta = (dbeta +) sum g; both may be null. `gamma` null means ones. `dx.data` null: not wanted.
  template <class T>
  static void batch_norm_backward(Cpu& cpu, In<T, 2> x, In<T, 2> y, In<T, 2> dy, Pointer<const T> mean,
                                  Pointer<const T> inv_std, Pointer<const T> gamma, Pointer<T> dgamma,
                                  Pointer<T> dbeta, Write param_write, View<T, 2> dx, Write write,
                                  Epilogue epilogue = Epilogue::none, const std::uint8_t* mask = nullptr) {
    backward<T>("batch_norm_backward", cpu, true, x, y, dy, mean, inv_std, gamma, dgamma, dbeta, param_write, dx,
                write, epilogue, mask);
  }

  /// The same with constant statistics (evaluation mode, or frozen): dx = g gamma inv_std.
  template <class T>
  static void scale_shift_backward(Cpu& cpu, In<T, 2> x, In<T, 2> y, In<T, 2> dy, Pointer<const T> mean,
                                   Pointer<const T> inv_std, Pointer<const T> gamma, Pointer<T> dgamma,
                                   Pointer<T> dbeta, Write param_write, View<T, 2> dx, Write write,
                                   Epilogue epilogue = Epilogue::none, const std::uint8_t* mask = nullptr) {
    backward<T>("scale_shift_backward", cpu, false, x, y, dy, mean, inv_std, gamma, dgamma, dbeta, param_write, dx,
                write, epilogue, mask);
  }

 private:
  /// Joins the mean and the sum of squared deviations of `count` rows with those of `more` rows (Chan, Golub and
  /// LeVeque, 1983).
  template <class T, class Width>
  static RETORT_INLINE void merge(T* mean, T* squares, index_t count, simd::Native<T> centre, simd::Native<T> spread,
                                  index_t more, Width width) {
    const auto m = load(mean, width), delta = centre - m;
    const T share = static_cast<T>(more) / static_cast<T>(count + more);
    store(mean, fma(delta, simd::Native<T>(share), m), width);
    store(squares, load(squares, width) + spread + delta * delta * (share * static_cast<T>(count)), width);
  }

  /// Where the gradient passes.
  enum class Gate { open, positive_output, mask };

  template <class T>
  static void backward(const char* what, Cpu& cpu, bool through_statistics, View<const T, 2> x, View<const T, 2> y,
                       View<const T, 2> dy, const T* mean, const T* inv_std, const T* gamma, T* dgamma, T* dbeta,
                       Write param_write, View<T, 2> dx, Write write, Epilogue epilogue, const std::uint8_t* mask) {
    check_shape(what, dy.shape, x.shape);
    if (epilogue == Epilogue::relu && !mask) check_shape(what, y.shape, x.shape);
    if (dx.data) check_shape(what, dx.shape, x.shape);
    const auto run = [&]<Gate G>(std::integral_constant<Gate, G>) {
      gated_backward<G>(cpu, through_statistics, x, y.data, dy.data, mean, inv_std, gamma, dgamma, dbeta, param_write,
                        dx.data, write, mask);
    };
    if (epilogue == Epilogue::none)
      run(std::integral_constant<Gate, Gate::open>{});
    else if (mask)
      run(std::integral_constant<Gate, Gate::mask>{});
    else
      run(std::integral_constant<Gate, Gate::positive_output>{});
  }

  template <Gate G, class T>
  static void gated_backward(Cpu& cpu, bool through_statistics, View<const T, 2> x, const T* y, const T* dy,
                             const T* mean, const T* inv_std, const T* gamma, T* dgamma, T* dbeta, Write param_write,
                             T* dx, Write write, const std::uint8_t* mask) {
    using P = simd::Native<T>;
    const index_t rows = x.extent(0), channels = x.extent(1);
    const auto gradient = [=](index_t i, auto width) {
      const P g = load(dy + i, width);
      if constexpr (G == Gate::positive_output) return select(load(y + i, width) > P(T{0}), g, P(T{0}));
      if constexpr (G == Gate::mask) return select(load_mask<T>(mask + i, width) > P(T{0}), g, P(T{0}));
      return g;
    };

    ArenaScope scope(cpu.scratch());
    // Sum of g, and of g (x - mean), per channel; then the coefficients of dx = slope g + tilt (x - mean) + offset.
    T* const sums = cpu.scratch().template allocate<T>(5 * channels);
    T *const dots = sums + channels, *const slope = dots + channels, *const tilt = slope + channels,
             *const offset = tilt + channels;
    if (dgamma || dbeta || (dx && through_statistics))
      reduce_rows<2>(cpu, rows, channels, sums, [&](index_t c, auto width) {
        const P m = load(mean + c, width);
        return [=](index_t r) {
          const P g = gradient(r * channels + c, width);
          return std::array<P, 2>{g, g * (load(x.data + r * channels + c, width) - m)};
        };
      });
    for (index_t c = 0; c < channels; ++c) {
      if (dgamma) dgamma[c] = (param_write == Write::add ? dgamma[c] : T{0}) + dots[c] * inv_std[c];
      if (dbeta) dbeta[c] = (param_write == Write::add ? dbeta[c] : T{0}) + sums[c];
    }
    if (!dx || rows == 0) return;
    for (index_t c = 0; c < channels; ++c) {
      slope[c] = (gamma ? gamma[c] : T{1}) * inv_std[c];
      const T mean_slope = through_statistics ? slope[c] / static_cast<T>(rows) : T{0};
      tilt[c] = through_statistics ? -mean_slope * dots[c] * inv_std[c] * inv_std[c] : T{0};
      offset[c] = through_statistics ? -mean_slope * sums[c] : T{0};
    }
    map_rows<T>(cpu, rows, channels, [&](index_t c, auto width) {
      const P m = load(mean + c, width), a = load<T>(slope + c, width), b = load<T>(tilt + c, width),
              o = load<T>(offset + c, width);
      return [=](index_t r) {
        const index_t i = r * channels + c;
        P d = fma(gradient(i, width), a, fma(load(x.data + i, width) - m, b, o));
        if (write == Write::add) d += load<T>(dx + i, width);
        store(dx + i, d, width);
      };
    });
  }

  /// Bytes as numbers.
  template <class T, class Width>
  static RETORT_INLINE simd::Native<T> load_mask(const std::uint8_t* p, Width width) {
    using P = simd::Native<T>;
    using Bytes = typename simd::Pack<std::uint8_t, P::lanes>::vector_type;
    alignas(Bytes) std::uint8_t bytes[P::lanes] = {};
    std::memcpy(bytes, p, static_cast<std::size_t>(width));
    return P(__builtin_convertvector(*reinterpret_cast<const Bytes*>(bytes), typename P::vector_type));
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
