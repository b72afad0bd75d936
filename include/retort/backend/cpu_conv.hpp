#pragma once
// 2-D convolution on the CPU, NHWC, weights KH x KW x (C_in / groups) x C_out.
//
// Direct convolution: a band of image rows is copied into scratch memory with zero columns at both ends, so that the
// taps of one kernel row are one contiguous run of KW * C_in values and need no border tests; kernel rows outside the
// image are skipped. The register tile of `cpu_tile.hpp` does the rest, for all three passes:
//   forward           tile of pixels x C_out, a run per kernel row;
//   data gradient     the forward pass over dy with transposed, flipped weights, once per phase of the stride;
//   weight gradient   tile of taps x C_out, a run per image row.
// Pointwise convolutions are matrix products. Depthwise ones have loops of their own, with channels in the lanes.

#include <retort/backend/cpu_columns.hpp>
#include <retort/backend/cpu_gemm.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Convolution {
  /// y = x * w (+ bias per channel), then the epilogue. x is N x H x W x C_in, y as `geometry.output` says.
  /// Throws shape_error when the shapes do not fit, value_error when the geometry is impossible.
  template <class T>
  static void conv2d_forward(Cpu& cpu, const Conv2dGeometry& g, In<T, 4> x, In<T, 4> w, Pointer<const T> bias,
                             View<T, 4> y, Epilogue epilogue = Epilogue::none) {
    g.check("conv2d_forward", x.shape, w.shape, y.shape);
    if (y.size() == 0) return;
    if (pointwise(g)) {
      Gemm::gemm(cpu, Transpose::no, Transpose::no, pixels(x), matrix(w), pixels(y), Write::replace, bias, epilogue);
      return;
    }
    const index_t ci = x.extent(3), co = w.extent(3);
    const TileJob<T> job{.bias = bias, .relu = epilogue == Epilogue::relu};
    if (depthwise(w.shape, g)) {
      cpu.parallel(y.extent(0) * y.extent(1), 4, [&](index_t first, index_t last, int) {
        depthwise_forward(g, x, w, y, job, first, last);
      });
      return;
    }
    ArenaScope scope(cpu.scratch());
    const Sweep sweep{.height = x.extent(1), .width = x.extent(2), .pixel = ci,
                      .depth = ci / g.groups, .kernel_h = g.kernel_h, .kernel_w = g.kernel_w, .step = g.stride,
                      .top = g.padding, .left = g.padding,
                      .out_h = y.extent(1), .out_w = y.extent(2), .out_row = y.extent(2) * co, .out_pixel = co,
                      .columns = co / g.groups, .groups = g.groups};
    T* const panels = cpu.scratch().template allocate<T>(sweep.template panel_size<T>() * g.groups);
    for (index_t group = 0; group < g.groups; ++group)
      for (index_t j = 0, columns; j < sweep.columns; j += columns) {
        columns = panel_columns<T>(sweep.columns - j, sweep.out_w);
        pack_panel(panels + group * sweep.template panel_size<T>() + j * sweep.taps(), w.data + group * sweep.columns + j, co, 1,
                   sweep.taps(), columns);
      }
    cpu.parallel(x.extent(0), 1, [&](index_t first, index_t last, int worker) {
      for (index_t n = first; n < last; ++n)
        correlate(cpu.scratch(worker), sweep, x.row(n), x.row(last), panels, y.row(n), job);
    });
  }

  /// dx = (dx +) the gradient by the input.
  template <class T>
  static void conv2d_backward_data(Cpu& cpu, const Conv2dGeometry& g, In<T, 4> dy, In<T, 4> w, View<T, 4> dx,
                                   Write write) {
    g.check("conv2d_backward_data", dx.shape, w.shape, dy.shape);
    if (dx.size() == 0) return;
    if (pointwise(g)) {
      Gemm::gemm(cpu, Transpose::no, Transpose::yes, pixels(dy), matrix(w), pixels(dx), write);
      return;
    }
    if (depthwise(w.shape, g)) {
      cpu.parallel(dx.extent(0) * dx.extent(1), 4, [&](index_t first, index_t last, int) {
        depthwise_backward_data(g, dy, w, dx, write, first, last);
      });
      return;
    }
    // Input pixels whose coordinates agree modulo the stride see the same subset of the taps: each such phase is a
    // convolution of stride 1 over dy. With stride 1 there is one phase.
    const TileJob<T> job{.add = write == Write::add};
    for (index_t phase_h = 0; phase_h < std::min<index_t>(g.stride, dx.extent(1)); ++phase_h)
      for (index_t phase_w = 0; phase_w < std::min<index_t>(g.stride, dx.extent(2)); ++phase_w) {
        const Phase h(phase_h, g, g.kernel_h, dx.extent(1)), v(phase_w, g, g.kernel_w, dx.extent(2));
        const index_t ci = dx.extent(3), co = dy.extent(3);
        const Sweep sweep{.height = dy.extent(1), .width = dy.extent(2), .pixel = co,
                          .depth = co / g.groups, .kernel_h = h.taps, .kernel_w = v.taps, .step = 1,
                          .top = h.before, .left = v.before,
                          .out_h = h.extent, .out_w = v.extent, .out_row = g.stride * dx.extent(2) * ci,
                          .out_pixel = g.stride * ci, .columns = ci / g.groups, .groups = g.groups};
        ArenaScope scope(cpu.scratch());
        T* const panels = cpu.scratch().template allocate<T>(sweep.template panel_size<T>() * g.groups);
        for (index_t group = 0; group < g.groups; ++group)
          for (index_t j = 0, columns; j < sweep.columns; j += columns) {
            columns = panel_columns<T>(sweep.columns - j, sweep.out_w);
            T* panel = panels + group * sweep.template panel_size<T>() + j * sweep.taps();
            for (index_t a = h.taps - 1; a >= 0; --a)
              for (index_t b = v.taps - 1; b >= 0; --b, panel += sweep.depth * packed_stride<T>(columns)) {
                const index_t tap = (h.first + a * g.stride) * g.kernel_w + v.first + b * g.stride;
                pack_panel(panel, w.data + (tap * sweep.columns + j) * co + group * sweep.depth, 1, co, sweep.depth,
                           columns);
              }
          }
        cpu.parallel(dx.extent(0), 1, [&](index_t first, index_t last, int worker) {
          for (index_t n = first; n < last; ++n)
            correlate(cpu.scratch(worker), sweep, dy.row(n), dy.row(last), panels,
                      dx.row(n) + (phase_h * dx.extent(2) + phase_w) * ci, job);
        });
      }
  }

  /// dw = (dw +) the gradient by the weights. Each worker sums its images into a buffer of its own; the buffers are
  /// added in a fixed order.
  template <class T>
  static void conv2d_backward_weights(Cpu& cpu, const Conv2dGeometry& g, In<T, 4> x, In<T, 4> dy, View<T, 4> dw,
                                      Write write) {
    g.check("conv2d_backward_weights", x.shape, dw.shape, dy.shape);
    if (dy.size() == 0 || dw.size() == 0) {
      if (write == Write::replace) std::fill_n(dw.data, dw.size(), T{0});
      return;
    }
    if (pointwise(g)) {
      Gemm::gemm(cpu, Transpose::yes, Transpose::no, pixels(x), pixels(dy), matrix(dw), write);
      return;
    }
    const int parts = cpu.slices(x.extent(0), 1);
    ArenaScope scope(cpu.scratch());
    T* const others = cpu.scratch().template allocate<T>((parts - 1) * dw.size());
    cpu.parallel(x.extent(0), 1, [&](index_t first, index_t last, int worker) {
      T* to = worker == 0 ? dw.data : others + (worker - 1) * dw.size();
      const bool add = worker == 0 && write == Write::add;
      if (depthwise(dw.shape, g))
        depthwise_backward_weights(g, x, dy, View<T, 4>(to, dw.shape), add, first, last);
      else
        correlate_weights(cpu.scratch(worker), g, x, dy, View<T, 4>(to, dw.shape), add, first, last);
    });
    for (int part = 1; part < parts; ++part) add_to(dw.data, others + (part - 1) * dw.size(), dw.size());
  }

 private:
  static bool pointwise(const Conv2dGeometry& g) {
    return g.kernel_h == 1 && g.kernel_w == 1 && g.stride == 1 && g.padding == 0 && g.groups == 1;
  }
  static bool depthwise(const Shape<4>& w, const Conv2dGeometry& g) { return w[2] == 1 && w[3] == g.groups; }
  template <class T>
  static View<T, 2> pixels(View<T, 4> v) {
    return {v.data, {v.extent(0) * v.extent(1) * v.extent(2), v.extent(3)}};
  }
  template <class T>
  static View<T, 2> matrix(View<T, 4> w) {
    return {w.data, {w.extent(2), w.extent(3)}};
  }

  /// A correlation of one image with packed taps. Source row of output row r and tap kh: r * step - top + kh; columns
  /// alike. Strides count elements.
  struct Sweep {
    index_t height, width, pixel;      ///< source image; elements from pixel to pixel
    index_t depth;                     ///< channels of one group
    index_t kernel_h, kernel_w, step, top, left;
    index_t out_h, out_w, out_row, out_pixel;
    index_t columns, groups;           ///< output channels of one group

    index_t taps() const { return kernel_h * kernel_w * depth; }
    /// Elements of the packed taps of one group.
    template <class T>
    index_t panel_size() const {
      return taps() * packed_stride<T>(columns);
    }
    /// Columns of the source that one row of output touches, and elements of that row when packed.
    index_t span() const { return (out_w - 1) * step + kernel_w; }
    index_t band_row() const { return span() * depth; }
  };

  /// One axis of one phase of a data gradient of stride s: the taps first, first + s, ... reach the input pixels
  /// phase, phase + s, ...
  struct Phase {
    index_t first, taps, before, extent;
    Phase(index_t phase, const Conv2dGeometry& g, index_t kernel, index_t size)
        : first((phase + g.padding) % g.stride),
          taps(kernel > first ? (kernel - 1 - first) / g.stride + 1 : 0),
          before(taps - 1 - (phase + g.padding) / g.stride),
          extent((size - phase + g.stride - 1) / g.stride) {}
  };

  /// Copies the rows [row0, row1) of a source image, which must lie inside it, for the group at `source`.
  template <class T>
  static void pack_band(const Sweep& s, const T* source, index_t row0, index_t row1, T* band) {
    const index_t c0 = std::clamp<index_t>(s.left, 0, s.span());                     // first packed column inside
    const index_t c1 = std::clamp<index_t>(s.width + s.left, c0, s.span());          // one past the last
    for (index_t row = row0; row < row1; ++row, band += s.band_row()) {
      std::fill_n(band, c0 * s.depth, T{0});
      const T* from = source + (row * s.width + c0 - s.left) * s.pixel;
      if (s.depth == s.pixel)
        std::copy_n(from, (c1 - c0) * s.depth, band + c0 * s.depth);
      else
        for (index_t c = c0; c < c1; ++c, from += s.pixel) std::copy_n(from, s.depth, band + c * s.depth);
      std::fill_n(band + c1 * s.depth, (s.span() - c1) * s.depth, T{0});
    }
  }

  /// Asks for [first, last) in `turns` parts while other work is under way: the next band then comes from the second-level
  /// cache, and its copy does not wait for memory. A turn asks for few lines, since more would wait for each other.
  class Ahead {
   public:
    template <class T>
    Ahead(const T* first, const T* last, index_t turns)
        : at_(reinterpret_cast<const char*>(first)), end_(reinterpret_cast<const char*>(last)),
          part_(std::min((end_ - at_) / std::max<index_t>(turns, 1) + 1, 16 * line)) {}
    RETORT_INLINE void turn() {
      for (const char* stop = at_ + std::min<index_t>(part_, end_ - at_); at_ < stop; at_ += line) __builtin_prefetch(at_, 0, 2);
    }

   private:
    static constexpr index_t line = 64;
    const char *at_, *end_;
    index_t part_;
  };

  /// Rows of a band, out of `rows`: as many as keep `bytes` per row within `budget`, at least one.
  static index_t band_rows(index_t rows, index_t bytes, index_t budget) {
    return std::clamp<index_t>(budget / std::max<index_t>(bytes, 1), 1, rows);
  }

  /// One image at `x` into one at `y`. `end`: where the memory of the images that follow x ends.
  template <class T>
  static void correlate(Arena<Cpu>& scratch, const Sweep& s, const T* x, const T* end, const T* panels, T* y,
                        TileJob<T> job) {
    constexpr index_t first_level_budget = 24 << 10;
    const index_t rows = band_rows(s.out_h, s.step * s.band_row() * static_cast<index_t>(sizeof(T)), first_level_budget);
    ArenaScope scope(scratch);
    T* const band = scratch.allocate<T>(((rows - 1) * s.step + s.kernel_h) * s.band_row());
    const T* const bias = job.bias;
    job.a_run = s.band_row();
    job.a_stride = s.step * s.depth;
    job.c_stride = s.out_pixel;
    for (index_t group = 0; group < s.groups; ++group)
      for (index_t r0 = 0; r0 < s.out_h; r0 += rows) {
        const index_t r1 = std::min(r0 + rows, s.out_h);
        const index_t h0 = std::clamp<index_t>(r0 * s.step - s.top, 0, s.height);
        const index_t h1 = std::clamp<index_t>((r1 - 1) * s.step - s.top + s.kernel_h, h0, s.height);
        pack_band(s, x + group * s.depth, h0, h1, band);
        const T* const following = x + h1 * s.width * s.pixel;
        Ahead ahead(following, following + std::min(end - following, rows * s.step * s.width * s.pixel),
                    (r1 - r0) * ((s.columns + panel_width<T> - 1) / panel_width<T>));
        for (index_t j = 0, columns; j < s.columns; j += columns) {
          columns = panel_columns<T>(s.columns - j, s.out_w);
          const index_t at = group * s.columns + j;
          const T* panel = panels + group * s.template panel_size<T>() + j * s.taps();
          const index_t tiles = tile_count<T>(s.out_w, columns);
          const bool shared = columns <= simd::native_lanes<T> && s.kernel_w == 3 && s.step == 1;
          job.length = (shared ? 1 : s.kernel_w) * s.depth;
          job.b_stride = packed_stride<T>(columns);
          job.b_tap = s.depth * job.b_stride;
          job.b_run = s.kernel_w * job.b_tap;
          job.bias = bias ? bias + at : nullptr;
          for (index_t r = r0; r < r1; ++r) {
            const index_t top = r * s.step - s.top;
            const index_t tap0 = std::clamp<index_t>(-top, 0, s.kernel_h);
            const index_t tap1 = std::clamp<index_t>(s.height - top, tap0, s.kernel_h);
            job.runs = tap1 - tap0;
            const T* a = band + (top + tap0 - h0) * s.band_row();
            ahead.turn();
            for (index_t t = 0; t < tiles; ++t) {
              const index_t c0 = s.out_w * t / tiles, c1 = s.out_w * (t + 1) / tiles;
              const auto run = shared ? &run_shared_tile<T> : &run_tile<Rows::strided, T>;
              run(static_cast<int>(c1 - c0), static_cast<int>(columns), job, job.runs ? a + c0 * job.a_stride : nullptr,
                  panel + tap0 * job.b_run, y + r * s.out_row + c0 * s.out_pixel + at);
            }
          }
        }
      }
  }

  /// dw = (dw +) the contribution of the images [first, last).
  template <class T>
  static void correlate_weights(Arena<Cpu>& scratch, const Conv2dGeometry& g, View<const T, 4> x, View<const T, 4> dy,
                                View<T, 4> dw, bool add, index_t first, index_t last) {
    // A sweep over the pixels of a chunk loads and stores dw once. The larger dw, the larger a chunk repays that: from
    // what the first-level cache holds to a part of the second; several small images, or some rows of a large one.
    const index_t budget = std::clamp<index_t>(4 * dw.size() * static_cast<index_t>(sizeof(T)), 24 << 10, 256 << 10);
    const index_t ci = x.extent(3), co = dy.extent(3), out_h = dy.extent(1), out_w = dy.extent(2);
    const Sweep s{.height = x.extent(1), .width = x.extent(2), .pixel = ci,
                  .depth = ci / g.groups, .kernel_h = g.kernel_h, .kernel_w = g.kernel_w, .step = g.stride,
                  .top = g.padding, .left = g.padding, .out_h = out_h, .out_w = out_w, .out_row = 0, .out_pixel = 0,
                  .columns = co / g.groups, .groups = g.groups};
    const index_t row_bytes = (s.step * s.band_row() + out_w * s.columns) * static_cast<index_t>(sizeof(T));
    const index_t rows = band_rows(out_h, row_bytes, budget);
    const index_t images = rows < out_h ? 1 : band_rows(last - first, row_bytes * out_h, budget);
    const index_t band_size = ((rows - 1) * s.step + s.kernel_h) * s.band_row(), tail = s.columns % panel_width<T>;
    ArenaScope scope(scratch);
    T* const band = scratch.allocate<T>(images * band_size);
    T* const padded = scratch.allocate<T>(tail ? images * rows * out_w * packed_stride<T>(tail) : 0);

    TileJob<T> job{.length = out_w, .a_image = band_size, .a_run = s.step * s.band_row(), .a_stride = s.step * s.depth,
                   .c_stride = co};
    for (index_t n0 = first; n0 < last; n0 += images)
      for (index_t r0 = 0; r0 < out_h; r0 += rows) {
        const index_t n1 = std::min(n0 + images, last), r1 = std::min(r0 + rows, out_h);
        const index_t h0 = std::clamp<index_t>(r0 * s.step - s.top, 0, s.height);
        const index_t h1 = std::clamp<index_t>((r1 - 1) * s.step - s.top + s.kernel_h, h0, s.height);
        job.images = n1 - n0;
        job.add = add || n0 > first || r0 > 0;
        // What the next chunk will read: the rows below, or the images behind.
        const bool below = r1 < out_h;
        const T *const next_x = below ? x.row(n0) + h1 * s.width * ci : x.row(n1),
                *const next_dy = below ? dy.row(n0) + r1 * out_w * co : dy.row(n1);
        const index_t turns = g.groups * ((s.columns + panel_width<T> - 1) / panel_width<T>) * s.kernel_h *
                              tile_count<T>(s.kernel_w * s.depth, std::min(s.columns, panel_width<T>));
        Ahead ahead_x(next_x, next_x + std::min(x.row(last) - next_x, images * rows * s.step * s.width * ci), turns);
        Ahead ahead_dy(next_dy, next_dy + std::min(dy.row(last) - next_dy, images * rows * out_w * co), turns);
        for (index_t group = 0; group < g.groups; ++group) {
          for (index_t n = n0; n < n1; ++n)
            pack_band(s, x.row(n) + group * s.depth, h0, h1, band + (n - n0) * band_size);
          for (index_t j = 0; j < s.columns; j += panel_width<T>) {
            const index_t columns = std::min(s.columns - j, panel_width<T>), at = group * s.columns + j;
            const T* b = dy.row(n0) + r0 * out_w * co + at;
            job.b_stride = co;
            job.b_image = out_h * out_w * co;
            if (columns < panel_width<T>) {  // whole vectors would read beyond the channels
              job.b_stride = packed_stride<T>(columns);
              job.b_image = (r1 - r0) * out_w * job.b_stride;
              for (index_t n = n0; n < n1; ++n)
                pack_panel(padded + (n - n0) * job.b_image, dy.row(n) + r0 * out_w * co + at, co, 1, (r1 - r0) * out_w,
                           columns);
              b = padded;
            }
            job.b_run = out_w * job.b_stride;
            const index_t positions = s.kernel_w * s.depth, tiles = tile_count<T>(positions, columns);
            for (index_t kh = 0; kh < s.kernel_h; ++kh) {
              // Output rows whose tap kh lies inside the image.
              const index_t from = std::clamp((s.top - kh + s.step - 1) / s.step, r0, r1);
              const index_t to = s.height + s.top > kh ? std::clamp((s.height + s.top - kh - 1) / s.step + 1, from, r1)
                                                       : from;
              job.runs = to - from;
              const T* a = band + (from * s.step - s.top + kh - h0) * s.band_row();
              for (index_t t = 0; t < tiles; ++t) {
                const index_t p0 = positions * t / tiles, p1 = positions * (t + 1) / tiles;
                ahead_x.turn();
                ahead_dy.turn();
                run_tile<Rows::contiguous>(static_cast<int>(p1 - p0), static_cast<int>(columns), job,
                                           job.runs ? a + p0 : nullptr, b + (from - r0) * job.b_run,
                                           dw.data + (kh * positions + p0) * co + at);
              }
            }
          }
        }
      }
  }

  /// Taps of one axis that meet the image: [first, last) of `kernel`, for the source coordinate `start` of tap 0.
  struct Taps {
    index_t first, last;
    Taps(index_t start, index_t kernel, index_t size)
        : first(std::clamp<index_t>(-start, 0, kernel)), last(std::clamp<index_t>(size - start, first, kernel)) {}
  };

  /// Output rows [first, last), counted through all images.
  template <class T>
  static void depthwise_forward(const Conv2dGeometry& g, View<const T, 4> x, View<const T, 4> w, View<T, 4> y,
                                const TileJob<T>& job, index_t first, index_t last) {
    using P = simd::Native<T>;
    const index_t channels = y.extent(3);
    for (index_t row = first; row < last; ++row) {
      const index_t n = row / y.extent(1), h0 = row % y.extent(1) * g.stride - g.padding;
      const Taps h(h0, g.kernel_h, x.extent(1));
      for (index_t c = 0; c < y.extent(2); ++c) {
        const index_t w0 = c * g.stride - g.padding;
        const Taps v(w0, g.kernel_w, x.extent(2));
        each_vector<T>(channels, [&](index_t ch, auto width) {
          P sum = job.bias ? load<T>(job.bias + ch, width) : P(T{0});
          for (index_t a = h.first; a < h.last; ++a)
            for (index_t b = v.first; b < v.last; ++b)
              sum = fma(load<T>(&x(n, h0 + a, w0 + b, ch), width), load<T>(w.data + (a * g.kernel_w + b) * channels + ch, width),
                        sum);
          if (job.relu) sum = max(P(T{0}), sum);
          store<T>(y.data + (row * y.extent(2) + c) * channels + ch, sum, width);
        });
      }
    }
  }

  /// Rows [first, last) of dx, counted through all images.
  template <class T>
  static void depthwise_backward_data(const Conv2dGeometry& g, View<const T, 4> dy, View<const T, 4> w, View<T, 4> dx,
                                      Write write, index_t first, index_t last) {
    using P = simd::Native<T>;
    const index_t channels = dx.extent(3);
    for (index_t row = first; row < last; ++row) {
      const index_t n = row / dx.extent(1), h = row % dx.extent(1) + g.padding;
      for (index_t c = 0; c < dx.extent(2); ++c) {
        const index_t v = c + g.padding;
        T* to = dx.data + (row * dx.extent(2) + c) * channels;
        each_vector<T>(channels, [&](index_t ch, auto width) {
          P sum = write == Write::add ? load<T>(to + ch, width) : P(T{0});
          for (index_t a = h % g.stride; a < g.kernel_h && a <= h; a += g.stride) {
            const index_t r = (h - a) / g.stride;
            if (r >= dy.extent(1)) continue;
            for (index_t b = v % g.stride; b < g.kernel_w && b <= v; b += g.stride) {
              const index_t q = (v - b) / g.stride;
              if (q >= dy.extent(2)) continue;
              sum = fma(load<T>(&dy(n, r, q, ch), width), load<T>(w.data + (a * g.kernel_w + b) * channels + ch, width), sum);
            }
          }
          store(to + ch, sum, width);
        });
      }
    }
  }

  template <class T>
  static void depthwise_backward_weights(const Conv2dGeometry& g, View<const T, 4> x, View<const T, 4> dy,
                                         View<T, 4> dw, bool add, index_t first, index_t last) {
    using P = simd::Native<T>;
    const index_t channels = dw.extent(3);
    if (!add) std::fill_n(dw.data, dw.size(), T{0});
    for (index_t n = first; n < last; ++n)
      for (index_t a = 0; a < g.kernel_h; ++a)
        for (index_t b = 0; b < g.kernel_w; ++b)
          each_vector<T>(channels, [&](index_t ch, auto width) {
            P sum(T{0});
            for (index_t r = 0; r < dy.extent(1); ++r) {
              const index_t h = r * g.stride - g.padding + a;
              if (h < 0 || h >= x.extent(1)) continue;
              for (index_t c = 0; c < dy.extent(2); ++c) {
                const index_t v = c * g.stride - g.padding + b;
                if (v >= 0 && v < x.extent(2)) sum = fma(load<T>(&x(n, h, v, ch), width), load<T>(&dy(n, r, c, ch), width), sum);
              }
            }
            T* to = dw.data + (a * g.kernel_w + b) * channels + ch;
            store(to, load<T>(to, width) + sum, width);
          });
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
