#pragma once
// Pooling and nearest-neighbour upsampling on the CPU, NHWC.

#include <cstdint>
#include <retort/backend/cpu_columns.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// All passes put channels in the lanes and split images among the workers.
struct Pooling {
  /// Maximum of each window; padding taps do not count. `index`, as large as y or null, receives the flat offset
  /// h * W + w of the chosen tap in its image (the first maximum on ties).
  template <class T>
  static void max_pool_forward(Cpu& cpu, const PoolGeometry& g, In<T, 4> x, View<T, 4> y, std::int32_t* index) {
    check("max_pool_forward", g, x.shape, y.shape);
    using P = simd::Native<T>;
    using I = Offsets<T>;
    const index_t width = x.extent(2), channels = x.extent(3);
    each_window(cpu, g, x.shape, y.shape, [&](const Window& at, auto kernel) {
      const T* image = x.row(at.n);
      each_vector<T>(channels, [&](index_t c, auto lanes) {
        const auto first = static_cast<typename I::value_type>(at.h0 * width + at.w0);
        P best = load(image + first * channels + c, lanes);
        I tap(first);
        at.each_tap(kernel, width, [&](index_t offset) {
          const P v = load(image + offset * channels + c, lanes);
          const auto larger = v > best;
          best = select(larger, v, best);
          tap = select(larger, I(static_cast<typename I::value_type>(offset)), tap);
        });
        store(y.data + at.y * channels + c, best, lanes);
        if (index) store_offsets<T>(index + at.y * channels + c, tap, lanes);
      });
    });
  }

  /// y = the taps of x that `index` recorded: the forward pass with frozen choices.
  template <class T>
  static void max_pool_forward_replay(Cpu& cpu, const PoolGeometry& g, In<T, 4> x, View<T, 4> y,
                                      const std::int32_t* index) {
    check("max_pool_forward_replay", g, x.shape, y.shape);
    const index_t channels = x.extent(3);
    each_window(cpu, g, x.shape, y.shape, [&](const Window& at, auto) {
      for (index_t c = 0, i = at.y * channels; c < channels; ++c, ++i)
        y.data[i] = x.row(at.n)[index[i] * channels + c];
    });
  }

  /// dx = (dx +) dy at the recorded taps.
  template <class T>
  static void max_pool_backward(Cpu& cpu, const PoolGeometry& g, In<T, 4> dy, const std::int32_t* index, View<T, 4> dx,
                                Write write) {
    check("max_pool_backward", g, dx.shape, dy.shape);
    using P = simd::Native<T>;
    using I = Offsets<T>;
    const index_t channels = dx.extent(3);
    spread(cpu, g, dy.shape, dx, write, [&](const Window& at, index_t c, auto lanes) {
      const P d = load(dy.data + at.y * channels + c, lanes);
      const I tap = load_offsets<T>(index + at.y * channels + c, lanes);
      return [=](index_t offset) {
        return select(tap == I(static_cast<typename I::value_type>(offset)), d, P(T{0}));
      };
    });
  }

  /// Mean of each window over the taps inside the image.
  template <class T>
  static void average_pool_forward(Cpu& cpu, const PoolGeometry& g, In<T, 4> x, View<T, 4> y) {
    check("average_pool_forward", g, x.shape, y.shape);
    using P = simd::Native<T>;
    const index_t channels = x.extent(3);
    each_window(cpu, g, x.shape, y.shape, [&](const Window& at, auto kernel) {
      const T* image = x.row(at.n);
      each_vector<T>(channels, [&](index_t c, auto lanes) {
        P sum(T{0});
        at.each_tap(kernel, x.extent(2), [&](index_t offset) { sum += load(image + offset * channels + c, lanes); });
        store(y.data + at.y * channels + c, sum / static_cast<T>(at.taps()), lanes);
      });
    });
  }

  /// dx = (dx +) each dy spread evenly over its window.
  template <class T>
  static void average_pool_backward(Cpu& cpu, const PoolGeometry& g, In<T, 4> dy, View<T, 4> dx, Write write) {
    check("average_pool_backward", g, dx.shape, dy.shape);
    spread(cpu, g, dy.shape, dx, write, [&](const Window& at, index_t c, auto lanes) {
      const auto share = load(dy.data + at.y * dx.extent(3) + c, lanes) / static_cast<T>(at.taps());
      return [=](index_t) { return share; };
    });
  }

  /// y[n][c] = mean over the pixels of x[n][.][.][c].
  template <class T>
  static void global_average_pool_forward(Cpu& cpu, In<T, 4> x, View<T, 2> y) {
    check_shape("global_average_pool_forward", y.shape, Shape<2>{x.extent(0), x.extent(3)});
    using P = simd::Native<T>;
    const index_t pixels = x.extent(1) * x.extent(2), channels = x.extent(3);
    cpu.parallel(x.extent(0), image_grain(x.shape), [&](index_t first, index_t last, int) {
      for (index_t n = first; n < last; ++n)
        each_vector<T>(channels, [&](index_t c, auto lanes) {
          const T* from = x.row(n) + c;
          const P sum = sum_rows<1, P>(0, pixels, [&](index_t p) {
            return std::array<P, 1>{load(from + p * channels, lanes)};
          })[0];
          store(y.row(n) + c, sum / static_cast<T>(pixels), lanes);
        });
    });
  }

  /// dx = (dx +) dy / pixels everywhere.
  template <class T>
  static void global_average_pool_backward(Cpu& cpu, In<T, 2> dy, View<T, 4> dx, Write write) {
    check_shape("global_average_pool_backward", dy.shape, Shape<2>{dx.extent(0), dx.extent(3)});
    const index_t pixels = dx.extent(1) * dx.extent(2), channels = dx.extent(3);
    cpu.parallel(dx.extent(0), image_grain(dx.shape), [&](index_t first, index_t last, int) {
      for (index_t n = first; n < last; ++n)
        each_vector<T>(channels, [&](index_t c, auto lanes) {
          const auto share = load(dy.row(n) + c, lanes) / static_cast<T>(pixels);
          for (index_t p = 0; p < pixels; ++p) put(dx.row(n) + p * channels + c, share, write, lanes);
        });
    });
  }

  /// Mean over H' x W' windows that cover the image: window r of R holds rows floor(r H / R) to ceil((r + 1) H / R).
  template <class T>
  static void adaptive_average_pool_forward(Cpu& cpu, In<T, 4> x, View<T, 4> y) {
    check_adaptive("adaptive_average_pool_forward", x.shape, y.shape);
    using P = simd::Native<T>;
    const index_t channels = x.extent(3);
    each_adaptive_window(cpu, x.shape, y.shape, [&](const Window& at) {
      each_vector<T>(channels, [&](index_t c, auto lanes) {
        P sum(T{0});
        at.each_tap(any_kernel, x.extent(2), [&](index_t offset) { sum += load(x.row(at.n) + offset * channels + c, lanes); });
        store(y.data + at.y * channels + c, sum / static_cast<T>(at.taps()), lanes);
      });
    });
  }
  /// dx = (dx +) the gradient of adaptive_average_pool_forward.
  template <class T>
  static void adaptive_average_pool_backward(Cpu& cpu, In<T, 4> dy, View<T, 4> dx, Write write) {
    check_adaptive("adaptive_average_pool_backward", dx.shape, dy.shape);
    const index_t channels = dx.extent(3);
    if (write == Write::replace) std::fill_n(dx.data, dx.size(), T{0});  // windows may overlap
    each_adaptive_window(cpu, dx.shape, dy.shape, [&](const Window& at) {
      T* image = dx.row(at.n);
      each_vector<T>(channels, [&](index_t c, auto lanes) {
        const auto share = load(dy.data + at.y * channels + c, lanes) / static_cast<T>(at.taps());
        at.each_tap(any_kernel, dx.extent(2), [&](index_t offset) { put(image + offset * channels + c, share, Write::add, lanes); });
      });
    });
  }

  /// y[n][r][c] = x[n][floor(r H / R)][floor(c W / C)] for y of R x C pixels: nearest neighbours, up or down.
  template <class T>
  static void resize_nearest_forward(Cpu& cpu, In<T, 4> x, View<T, 4> y) {
    each_nearest(cpu, x.shape, y.shape, [&](index_t small, index_t large, index_t channels) {
      std::copy_n(x.data + small, channels, y.data + large);
    });
  }
  template <class T>
  static void resize_nearest_backward(Cpu& cpu, In<T, 4> dy, View<T, 4> dx, Write write) {
    if (write == Write::replace) std::fill_n(dx.data, dx.size(), T{0});
    each_nearest(cpu, dx.shape, dy.shape,
                 [&](index_t from, index_t to, index_t channels) { add_to(dx.data + from, dy.data + to, channels); });
  }

  /// y[n][h][w] = x[n][h / factor][w / factor].
  template <class T>
  static void upsample_nearest_forward(Cpu& cpu, int factor, In<T, 4> x, View<T, 4> y) {
    check_upsample("upsample_nearest_forward", factor, x.shape, y.shape);
    const index_t channels = x.extent(3);
    each_window(cpu, block(factor), y.shape, x.shape, [&](const Window& at, auto kernel) {
      T* image = y.row(at.n);
      each_vector<T>(channels, [&](index_t c, auto lanes) {
        const auto v = load(x.data + at.y * channels + c, lanes);
        at.each_tap(kernel, y.extent(2), [&](index_t offset) { store(image + offset * channels + c, v, lanes); });
      });
    });
  }

  /// dx = (dx +) the sum of dy over each factor x factor block.
  template <class T>
  static void upsample_nearest_backward(Cpu& cpu, int factor, In<T, 4> dy, View<T, 4> dx, Write write) {
    check_upsample("upsample_nearest_backward", factor, dx.shape, dy.shape);
    using P = simd::Native<T>;
    const index_t channels = dx.extent(3);
    each_window(cpu, block(factor), dy.shape, dx.shape, [&](const Window& at, auto kernel) {
      const T* image = dy.row(at.n);
      each_vector<T>(channels, [&](index_t c, auto lanes) {
        P sum(T{0});
        at.each_tap(kernel, dy.extent(2), [&](index_t offset) { sum += load(image + offset * channels + c, lanes); });
        put(dx.data + at.y * channels + c, sum, write, lanes);
      });
    });
  }

 private:
  /// One output pixel: its image, its flat position in the output, and the taps inside the image.
  struct Window {
    index_t n, y, h0, h1, w0, w1;
    index_t taps() const { return (h1 - h0) * (w1 - w0); }

    /// Calls f(h * image_width + w) for each tap. `Kernel` > 0: the window is whole and of that size.
    template <int Kernel, class F>
    RETORT_INLINE void each_tap(std::integral_constant<int, Kernel>, index_t image_width, F&& f) const {
      if constexpr (Kernel > 0) {
#pragma GCC unroll 2
        for (index_t h = 0; h < Kernel; ++h)
#pragma GCC unroll 2
          for (index_t w = 0; w < Kernel; ++w) f((h0 + h) * image_width + w0 + w);
      } else {
        for (index_t h = h0; h < h1; ++h)
          for (index_t w = w0; w < w1; ++w) f(h * image_width + w);
      }
    }
  };

  static constexpr std::integral_constant<int, 0> any_kernel{};

  static void check_adaptive(const char* what, Shape<4> x, Shape<4> y) {
    require<shape_error>(x[0] == y[0] && x[3] == y[3] && y[1] >= 1 && y[2] >= 1 && y[1] <= x[1] && y[2] <= x[2], what, ": images ", x,
                         " pooled to ", y, ": samples and channels must agree, and the result may not be larger");
  }
  template <class F>
  static void each_adaptive_window(Cpu& cpu, Shape<4> x, Shape<4> y, F&& f) {
    cpu.parallel(y[0], image_grain(x), [&](index_t first, index_t last, int) {
      for (index_t n = first; n < last; ++n)
        for (index_t r = 0; r < y[1]; ++r)
          for (index_t c = 0; c < y[2]; ++c)
            f(Window{n, (n * y[1] + r) * y[2] + c, r * x[1] / y[1], ((r + 1) * x[1] + y[1] - 1) / y[1], c * x[2] / y[2],
                     ((c + 1) * x[2] + y[2] - 1) / y[2]});
    });
  }
  /// f(offset in x, offset in y, channels) for each pixel of y and its nearest neighbour in x.
  template <class F>
  static void each_nearest(Cpu& cpu, Shape<4> x, Shape<4> y, F&& f) {
    require<shape_error>(x[0] == y[0] && x[3] == y[3] && x.size() > 0 && y.size() > 0, "resize_nearest: images ", x, " resized to ", y,
                         ": samples and channels must agree");
    cpu.parallel(y[0], image_grain(y), [&](index_t first, index_t last, int) {
      for (index_t n = first; n < last; ++n)
        for (index_t r = 0; r < y[1]; ++r)
          for (index_t c = 0; c < y[2]; ++c)
            f(((n * x[1] + r * x[1] / y[1]) * x[2] + c * x[2] / y[2]) * x[3], ((n * y[1] + r) * y[2] + c) * y[3], x[3]);
    });
  }

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
  /// Upsampling is pooling the other way round: the large image in whole windows.
  static PoolGeometry block(int factor) { return {.kernel = factor, .stride = factor, .padding = 0}; }

  /// Images that repay a worker of their own.
  static index_t image_grain(Shape<4> x) { return std::max<index_t>(1, (1 << 14) / std::max<index_t>(x.row_size(), 1)); }

  /// Calls f(window, kernel) for each pixel of y; `kernel` is the constant 2 for whole windows of 2 x 2, else 0.
  template <class F>
  static void each_window(Cpu& cpu, const PoolGeometry& g, Shape<4> x, Shape<4> y, F&& f) {
    cpu.parallel(y[0], image_grain(x), [&](index_t first, index_t last, int) {
      for (index_t n = first; n < last; ++n)
        for (index_t r = 0; r < y[1]; ++r)
          for (index_t c = 0; c < y[2]; ++c) {
            const index_t h = r * g.stride - g.padding, w = c * g.stride - g.padding;
            const Window at{n, (n * y[1] + r) * y[2] + c, std::max<index_t>(h, 0), std::min(h + g.kernel, x[1]),
                            std::max<index_t>(w, 0), std::min(w + g.kernel, x[2])};
            if (g.kernel == 2 && g.padding == 0)
              f(at, std::integral_constant<int, 2>{});
            else
              f(at, std::integral_constant<int, 0>{});
          }
    });
  }

  /// dx = (dx +) what each window gives to each of its taps: `share(window, c, lanes)` returns a function of the tap.
  template <class T, class F>
  static void spread(Cpu& cpu, const PoolGeometry& g, Shape<4> y, View<T, 4> dx, Write write, F&& share) {
    const index_t width = dx.extent(2), channels = dx.extent(3);
    // Where the windows tile the image every pixel of dx is written once; else they add to a cleared dx.
    const bool tiling = g.kernel == g.stride && g.padding == 0 && dx.extent(1) == y[1] * g.stride &&
                        width == y[2] * g.stride;
    if (write == Write::replace && !tiling) std::fill_n(dx.data, dx.size(), T{0});
    const Write each = tiling ? write : Write::add;
    each_window(cpu, g, dx.shape, y, [&](const Window& at, auto kernel) {
      T* image = dx.row(at.n);
      each_vector<T>(channels, [&](index_t c, auto lanes) {
        const auto part = share(at, c, lanes);
        at.each_tap(kernel, width, [&](index_t offset) { put(image + offset * channels + c, part(offset), each, lanes); });
      });
    });
  }

  template <class T, class Width>
  static RETORT_INLINE void put(T* to, simd::Native<T> v, Write write, Width lanes) {
    store(to, write == Write::add ? v + load<T>(to, lanes) : v, lanes);
  }

  /// Tap offsets beside a vector of T: integers of T's size, so that comparisons of one select among the other.
  template <class T>
  using Offsets = simd::Pack<std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>, simd::native_lanes<T>>;

  template <class T, class Width>
  static RETORT_INLINE void store_offsets(std::int32_t* to, Offsets<T> v, Width lanes) {
    using Narrow = simd::Pack<std::int32_t, simd::native_lanes<T>>;
    const Narrow out(__builtin_convertvector(v.v, typename Narrow::vector_type));
    if constexpr (std::is_same_v<Width, int>)
      out.store_partial(to, lanes);
    else
      out.store(to);
  }
  template <class T, class Width>
  static RETORT_INLINE Offsets<T> load_offsets(const std::int32_t* from, Width lanes) {
    using Narrow = simd::Pack<std::int32_t, simd::native_lanes<T>>;
    Narrow v;
    if constexpr (std::is_same_v<Width, int>)
      v = Narrow::load_partial(from, lanes);
    else
      v = Narrow::load(from);
    return Offsets<T>(__builtin_convertvector(v.v, typename Offsets<T>::vector_type));
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
