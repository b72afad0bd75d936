#pragma once
// 2-D convolution on the CPU, NHWC, weights KH x KW x (C_in / groups) x C_out.

#include <retort/backend/cpu_common.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Convolution {
  /// y = x * w (+ bias per channel), then the epilogue. x is N x H x W x C_in, y as `geometry.output` says.
  /// Throws shape_error when the shapes do not fit, value_error when the geometry is impossible.
  template <class T>
  static void conv2d_forward(Cpu&, const Conv2dGeometry& g, In<T, 4> x, In<T, 4> w, Pointer<const T> bias, View<T, 4> y,
                             Epilogue epilogue = Epilogue::none) {
    check("conv2d_forward", g, x.shape, w.shape, y.shape);
    const index_t co = y.extent(3);
    for (index_t i = 0; i < y.size(); ++i) y.data[i] = bias ? bias[i % co] : T{0};
    each_tap(g, x.shape, w.shape, y.shape, [&](index_t at_x, index_t at_w, index_t at_y) {
      y.data[at_y] += x.data[at_x] * w.data[at_w];
    });
    if (epilogue == Epilogue::relu)
      for (T& v : y) v = std::max(v, T{0});
  }

  /// dx = (dx +) the gradient by the input.
  template <class T>
  static void conv2d_backward_data(Cpu&, const Conv2dGeometry& g, In<T, 4> dy, In<T, 4> w, View<T, 4> dx, Write write) {
    check("conv2d_backward_data", g, dx.shape, w.shape, dy.shape);
    if (write == Write::replace) std::fill_n(dx.data, dx.size(), T{0});
    each_tap(g, dx.shape, w.shape, dy.shape, [&](index_t at_x, index_t at_w, index_t at_y) {
      dx.data[at_x] += dy.data[at_y] * w.data[at_w];
    });
  }

  /// dw = (dw +) the gradient by the weights.
  template <class T>
  static void conv2d_backward_weights(Cpu&, const Conv2dGeometry& g, In<T, 4> x, In<T, 4> dy, View<T, 4> dw,
                                      Write write) {
    check("conv2d_backward_weights", g, x.shape, dw.shape, dy.shape);
    if (write == Write::replace) std::fill_n(dw.data, dw.size(), T{0});
    each_tap(g, x.shape, dw.shape, dy.shape, [&](index_t at_x, index_t at_w, index_t at_y) {
      dw.data[at_w] += dy.data[at_y] * x.data[at_x];
    });
  }

 private:
  static void check(const char* what, const Conv2dGeometry& g, Shape<4> x, Shape<4> w, Shape<4> y) {
    require<value_error>(g.kernel_h >= 1 && g.kernel_w >= 1 && g.stride >= 1 && g.padding >= 0 && g.groups >= 1, what,
                         ": kernel, stride and groups must be at least 1 and padding not negative");
    require<shape_error>(x[3] % g.groups == 0 && w[3] % g.groups == 0, what, ": ", g.groups,
                         " groups do not divide the channels of x ", x, " and w ", w);
    check_shape(what, w, Shape<4>{g.kernel_h, g.kernel_w, x[3] / g.groups, w[3]});
    require<shape_error>(x[1] + 2 * g.padding >= g.kernel_h && x[2] + 2 * g.padding >= g.kernel_w, what,
                         ": the kernel is larger than the padded image ", x);
    check_shape(what, y, g.output(x, w[3]));
  }

  template <class F>
  static void each_tap(const Conv2dGeometry& g, Shape<4> x, Shape<4> w, Shape<4> y, F&& f) {
    const index_t cg = w[2], og = w[3] / g.groups;
    for (index_t n = 0; n < y[0]; ++n)
      for (index_t r = 0; r < y[1]; ++r)
        for (index_t c = 0; c < y[2]; ++c)
          for (index_t kh = 0; kh < g.kernel_h; ++kh)
            for (index_t kw = 0; kw < g.kernel_w; ++kw) {
              const index_t h = r * g.stride + kh - g.padding, v = c * g.stride + kw - g.padding;
              if (h < 0 || h >= x[1] || v < 0 || v >= x[2]) continue;
              for (index_t group = 0; group < g.groups; ++group)
                for (index_t i = 0; i < cg; ++i)
                  for (index_t o = 0; o < og; ++o)
                    f(((n * x[1] + h) * x[2] + v) * x[3] + group * cg + i,
                      ((kh * g.kernel_w + kw) * cg + i) * w[3] + group * og + o,
                      ((n * y[1] + r) * y[2] + c) * y[3] + group * og + o);
            }
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
