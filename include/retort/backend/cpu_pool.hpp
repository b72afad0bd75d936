#pragma once
// Pooling and nearest-neighbour upsampling on the CPU, NHWC.

#include <cstdint>
#include <retort/backend/cpu_common.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Pooling {
  /// Maximum of each window; padding taps do not count. `index`, as large as y or null, receives the flat offset
  /// h * W + w of the chosen tap in its image (the first maximum on ties).
  template <class T>
  static void max_pool_forward(Cpu&, const PoolGeometry& g, In<T, 4> x, View<T, 4> y, std::int32_t* index) {
    check("max_pool_forward", g, x.shape, y.shape);
    each_window(g, x.shape, y.shape, [&](const Window& at) {
      for (index_t c = 0; c < x.extent(3); ++c) {
        T best = x(at.n, at.h0, at.w0, c);
        index_t tap = at.h0 * x.extent(2) + at.w0;
        for (index_t h = at.h0; h < at.h1; ++h)
          for (index_t w = at.w0; w < at.w1; ++w)
            if (x(at.n, h, w, c) > best) {
              best = x(at.n, h, w, c);
              tap = h * x.extent(2) + w;
            }
        y.data[at.y * x.extent(3) + c] = best;
        if (index) index[at.y * x.extent(3) + c] = static_cast<std::int32_t>(tap);
      }
    });
  }

  /// y = the taps of x that `index` recorded: the forward pass with frozen choices.
  template <class T>
  static void max_pool_forward_replay(Cpu&, const PoolGeometry& g, In<T, 4> x, View<T, 4> y,
                                      const std::int32_t* index) {
    check("max_pool_forward_replay", g, x.shape, y.shape);
    const index_t channels = x.extent(3), image = y.shape.row_size();
    for (index_t i = 0; i < y.size(); ++i)
      y.data[i] = x.row(i / std::max<index_t>(image, 1))[index[i] * channels + i % channels];
  }

  /// dx = (dx +) dy at the recorded taps.
  template <class T>
  static void max_pool_backward(Cpu&, const PoolGeometry& g, In<T, 4> dy, const std::int32_t* index, View<T, 4> dx,
                                Write write) {
    check("max_pool_backward", g, dx.shape, dy.shape);
    if (write == Write::replace) std::fill_n(dx.data, dx.size(), T{0});
    const index_t channels = dx.extent(3), image = dy.shape.row_size();
    for (index_t i = 0; i < dy.size(); ++i)
      dx.row(i / std::max<index_t>(image, 1))[index[i] * channels + i % channels] += dy.data[i];
  }

  /// Mean of each window over the taps inside the image.
  template <class T>
  static void average_pool_forward(Cpu&, const PoolGeometry& g, In<T, 4> x, View<T, 4> y) {
    check("average_pool_forward", g, x.shape, y.shape);
    each_window(g, x.shape, y.shape, [&](const Window& at) {
      for (index_t c = 0; c < x.extent(3); ++c) {
        T sum{0};
        for (index_t h = at.h0; h < at.h1; ++h)
          for (index_t w = at.w0; w < at.w1; ++w) sum += x(at.n, h, w, c);
        y.data[at.y * x.extent(3) + c] = sum / static_cast<T>(at.taps());
      }
    });
  }

  /// dx = (dx +) each dy spread evenly over its window.
  template <class T>
  static void average_pool_backward(Cpu&, const PoolGeometry& g, In<T, 4> dy, View<T, 4> dx, Write write) {
    check("average_pool_backward", g, dx.shape, dy.shape);
    if (write == Write::replace) std::fill_n(dx.data, dx.size(), T{0});
    each_window(g, dx.shape, dy.shape, [&](const Window& at) {
      for (index_t c = 0; c < dx.extent(3); ++c) {
        const T share = dy.data[at.y * dx.extent(3) + c] / static_cast<T>(at.taps());
        for (index_t h = at.h0; h < at.h1; ++h)
          for (index_t w = at.w0; w < at.w1; ++w) dx(at.n, h, w, c) += share;
      }
    });
  }

  /// y[n][c] = mean over the pixels of x[n][.][.][c].
  template <class T>
  static void global_average_pool_forward(Cpu&, In<T, 4> x, View<T, 2> y) {
    check_shape("global_average_pool_forward", y.shape, Shape<2>{x.extent(0), x.extent(3)});
    const index_t pixels = x.extent(1) * x.extent(2), channels = x.extent(3);
    for (index_t n = 0; n < x.extent(0); ++n)
      for (index_t c = 0; c < channels; ++c) {
        T sum{0};
        for (index_t p = 0; p < pixels; ++p) sum += x.row(n)[p * channels + c];
        y(n, c) = sum / static_cast<T>(pixels);
      }
  }

  /// dx = (dx +) dy / pixels everywhere.
  template <class T>
  static void global_average_pool_backward(Cpu&, In<T, 2> dy, View<T, 4> dx, Write write) {
    check_shape("global_average_pool_backward", dy.shape, Shape<2>{dx.extent(0), dx.extent(3)});
    const index_t pixels = dx.extent(1) * dx.extent(2), channels = dx.extent(3);
    for (index_t n = 0; n < dx.extent(0); ++n)
      for (index_t i = 0; i < pixels * channels; ++i) {
        T& d = dx.row(n)[i];
        d = (write == Write::add ? d : T{0}) + dy(n, i % channels) / static_cast<T>(pixels);
      }
  }

  /// y[n][h][w] = x[n][h / factor][w / factor].
  template <class T>
  static void upsample_nearest_forward(Cpu&, int factor, In<T, 4> x, View<T, 4> y) {
    check_upsample("upsample_nearest_forward", factor, x.shape, y.shape);
    for (index_t n = 0; n < y.extent(0); ++n)
      for (index_t h = 0; h < y.extent(1); ++h)
        for (index_t w = 0; w < y.extent(2); ++w)
          for (index_t c = 0; c < y.extent(3); ++c) y(n, h, w, c) = x(n, h / factor, w / factor, c);
  }

  /// dx = (dx +) the sum of dy over each factor x factor block.
  template <class T>
  static void upsample_nearest_backward(Cpu&, int factor, In<T, 4> dy, View<T, 4> dx, Write write) {
    check_upsample("upsample_nearest_backward", factor, dx.shape, dy.shape);
    if (write == Write::replace) std::fill_n(dx.data, dx.size(), T{0});
    for (index_t n = 0; n < dy.extent(0); ++n)
      for (index_t h = 0; h < dy.extent(1); ++h)
        for (index_t w = 0; w < dy.extent(2); ++w)
          for (index_t c = 0; c < dy.extent(3); ++c) dx(n, h / factor, w / factor, c) += dy(n, h, w, c);
  }

 private:
  struct Window {
    index_t n, y, h0, h1, w0, w1;  ///< image, flat output pixel, and the taps inside the image
    index_t taps() const { return (h1 - h0) * (w1 - w0); }
  };

  static void check(const char* what, const PoolGeometry& g, Shape<4> x, Shape<4> y) {
    require<value_error>(g.kernel >= 1 && g.stride >= 1 && g.padding >= 0 && g.padding < g.kernel, what,
                         ": kernel and stride must be at least 1, padding at least 0 and below the kernel");
    require<shape_error>(x[1] + 2 * g.padding >= g.kernel && x[2] + 2 * g.padding >= g.kernel, what,
                         ": the window is larger than the padded image ", x);
    check_shape(what, y, g.output(x));
    require<shape_error>(x[1] * x[2] <= INT32_MAX, what, ": images of more than 2^31 pixels are not supported, got ", x);
  }
  static void check_upsample(const char* what, int factor, Shape<4> small, Shape<4> large) {
    require<value_error>(factor >= 1, what, ": expected a factor of at least 1, got ", factor);
    check_shape(what, large, Shape<4>{small[0], small[1] * factor, small[2] * factor, small[3]});
  }

  template <class F>
  static void each_window(const PoolGeometry& g, Shape<4> x, Shape<4> y, F&& f) {
    for (index_t n = 0; n < y[0]; ++n)
      for (index_t r = 0; r < y[1]; ++r)
        for (index_t c = 0; c < y[2]; ++c) {
          const index_t h = r * g.stride - g.padding, w = c * g.stride - g.padding;
          f(Window{n, (n * y[1] + r) * y[2] + c, std::max<index_t>(h, 0), std::min(h + g.kernel, x[1]),
                   std::max<index_t>(w, 0), std::min(w + g.kernel, x[2])});
        }
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
