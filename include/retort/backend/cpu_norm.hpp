#pragma once
// Per-channel normalisation on the CPU over rows [pixels or samples][C].

#include <cstdint>
#include <retort/backend/cpu_common.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Normalization {
  /// Mean and biased variance of each column, C entries each. Safe when |mean| is much larger than the deviation.
  template <class T>
  static void batch_norm_statistics(Cpu&, In<T, 2> x, T* mean, Pointer<T> variance) {
    const index_t rows = x.extent(0), n = x.extent(1);
    for (index_t j = 0; j < n; ++j) {
      T m{0}, s{0};
      for (index_t r = 0; r < rows; ++r) {
        const T d = x.data[r * n + j] - m;
        m += d / static_cast<T>(r + 1);
        s += d * (x.data[r * n + j] - m);
      }
      mean[j] = m;
      variance[j] = rows ? s / static_cast<T>(rows) : T{0};
    }
  }

  /// y = x * scale + shift per column, then the epilogue.
  template <class T>
  static void scale_shift(Cpu&, In<T, 2> x, Pointer<const T> scale, Pointer<const T> shift, View<T, 2> y,
                          Epilogue epilogue = Epilogue::none) {
    check_shape("scale_shift", x.shape, y.shape);
    const index_t n = x.extent(1);
    for (index_t i = 0; i < x.size(); ++i) {
      const T v = x.data[i] * scale[i % n] + shift[i % n];
      y.data[i] = epilogue == Epilogue::relu && v < T{0} ? T{0} : v;
    }
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
  template <class T>
  static void backward(const char* what, Cpu&, bool through_statistics, View<const T, 2> x, View<const T, 2> y,
                       View<const T, 2> dy, const T* mean, const T* inv_std, const T* gamma, T* dgamma, T* dbeta,
                       Write param_write, View<T, 2> dx, Write write, Epilogue epilogue, const std::uint8_t* mask) {
    const bool relu = epilogue == Epilogue::relu;
    check_shape(what, dy.shape, x.shape);
    if (relu && !mask) check_shape(what, y.shape, x.shape);
    if (dx.data) check_shape(what, dx.shape, x.shape);
    const index_t rows = x.extent(0), n = x.extent(1);
    for (index_t j = 0; j < n; ++j) {
      auto g = [&](index_t i) {
        return relu && !(mask ? mask[i] != 0 : y.data[i] > T{0}) ? T{0} : dy.data[i];
      };
      T sum{0}, dot{0};
      for (index_t i = j; i < rows * n; i += n) {
        sum += g(i);
        dot += g(i) * (x.data[i] - mean[j]) * inv_std[j];
      }
      if (dgamma) dgamma[j] = (param_write == Write::add ? dgamma[j] : T{0}) + dot;
      if (dbeta) dbeta[j] = (param_write == Write::add ? dbeta[j] : T{0}) + sum;
      if (!dx.data) continue;
      const T scale = (gamma ? gamma[j] : T{1}) * inv_std[j];
      const T count = static_cast<T>(rows);
      for (index_t i = j; i < rows * n; i += n) {
        T d = g(i);
        if (through_statistics) d -= sum / count + (x.data[i] - mean[j]) * inv_std[j] * dot / count;
        dx.data[i] = (write == Write::add ? dx.data[i] : T{0}) + scale * d;
      }
    }
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
