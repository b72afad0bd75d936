#pragma once
// Kernels over sequences of unequal length: samples x positions x width, of which the first lengths[n] positions of sample n
// count. What lies behind them never reaches a result.

#include <retort/backend/cpu_gemm.hpp>
#include <retort/backend/cpu_softmax.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Sequences {
  using Lengths = View<const std::int32_t, 1>;

  /// y[n] = the sum, or the mean, of the table's rows at the sample's ids (N x L); of no ids 0.
  template <class T>
  static void embedding_bag(Cpu& cpu, In<T, 2> table, View<const std::int32_t, 2> ids, Lengths lengths, bool mean, View<T, 2> y) {
    const index_t width = table.extent(1);
    cpu.parallel(ids.extent(0), 16, [=](index_t begin, index_t end, int) {
      for (index_t n = begin; n < end; ++n) {
        T* out = y.row(n);
        std::fill_n(out, width, T(0));
        for (index_t t = 0; t < lengths(n); ++t) add_to(out, table.row(ids(n, t)), width);
        const T share = mean && lengths(n) > 1 ? T(1) / static_cast<T>(lengths(n)) : T(1);
        for (index_t d = 0; d < width; ++d) out[d] *= share;
      }
    });
  }
  template <class T>
  static void embedding_bag_backward(Cpu&, In<T, 2> dy, View<const std::int32_t, 2> ids, Lengths lengths, bool mean, View<T, 2> d_table, Write write) {
    const index_t width = d_table.extent(1);
    if (write == Write::replace) std::fill(d_table.begin(), d_table.end(), T(0));
    for (index_t n = 0; n < ids.extent(0); ++n) {
      const T share = mean && lengths(n) > 1 ? T(1) / static_cast<T>(lengths(n)) : T(1);
      for (index_t t = 0; t < lengths(n); ++t) {
        T* to = d_table.row(ids(n, t));
        for (index_t d = 0; d < width; ++d) to[d] += share * dy(n, d);
      }
    }
  }

  /// y[n][t] = x[n] at t - (kernel - 1) / 2 and the kernel - 1 positions after it, side by side; 0 outside the sample.
  template <class T>
  static void windows(Cpu& cpu, In<T, 3> x, Lengths lengths, index_t kernel, View<T, 3> y) {
    const index_t width = x.extent(2), before = (kernel - 1) / 2;
    cpu.parallel(x.extent(0), 4, [=](index_t begin, index_t end, int) {
      for (index_t n = begin; n < end; ++n)
        for (index_t t = 0; t < x.extent(1); ++t)
          for (index_t k = 0; k < kernel; ++k) {
            const index_t from = t - before + k;
            T* to = y.row(n) + (t * kernel + k) * width;
            if (t < lengths(n) && from >= 0 && from < lengths(n))
              std::copy_n(x.row(n) + from * width, width, to);
            else
              std::fill_n(to, width, T(0));
          }
    });
  }
  template <class T>
  static void windows_backward(Cpu& cpu, In<T, 3> dy, Lengths lengths, index_t kernel, View<T, 3> dx, Write write) {
    const index_t width = dx.extent(2), before = (kernel - 1) / 2;
    if (write == Write::replace) std::fill(dx.begin(), dx.end(), T(0));
    cpu.parallel(dx.extent(0), 4, [=](index_t begin, index_t end, int) {
      for (index_t n = begin; n < end; ++n)
        for (index_t t = 0; t < lengths(n); ++t)
          for (index_t k = 0; k < kernel; ++k)
            if (const index_t from = t - before + k; from >= 0 && from < lengths(n))
              add_to(dx.row(n) + from * width, dy.row(n) + (t * kernel + k) * width, width);
    });
  }

  /// The largest value of each channel, and where it is (-1 in an empty sample, whose result is 0).
  template <class T>
  static void max_over_time(Cpu&, In<T, 3> x, Lengths lengths, View<T, 2> y, std::int32_t* index) {
    const index_t width = x.extent(2);
    for (index_t n = 0; n < x.extent(0); ++n)
      for (index_t d = 0; d < width; ++d) {
        std::int32_t best = lengths(n) > 0 ? 0 : -1;
        for (std::int32_t t = 1; t < lengths(n); ++t)
          if (x(n, t, d) > x(n, best, d)) best = t;
        index[n * width + d] = best;
        y(n, d) = best < 0 ? T(0) : x(n, best, d);
      }
  }
  template <class T>
  static void max_over_time_replay(Cpu&, In<T, 3> x, View<T, 2> y, const std::int32_t* index) {
    for (index_t n = 0; n < y.extent(0); ++n)
      for (index_t d = 0; d < y.extent(1); ++d) {
        const std::int32_t at = index[n * y.extent(1) + d];
        y(n, d) = at < 0 ? T(0) : x(n, at, d);
      }
  }
  template <class T>
  static void max_over_time_backward(Cpu&, In<T, 2> dy, const std::int32_t* index, View<T, 3> dx, Write write) {
    if (write == Write::replace) std::fill(dx.begin(), dx.end(), T(0));
    for (index_t n = 0; n < dy.extent(0); ++n)
      for (index_t d = 0; d < dy.extent(1); ++d)
        if (const std::int32_t at = index[n * dy.extent(1) + d]; at >= 0) dx(n, at, d) += dy(n, d);
  }

  /// The mean over the sample's positions; 0 for an empty one.
  template <class T>
  static void mean_over_time(Cpu&, In<T, 3> x, Lengths lengths, View<T, 2> y) {
    const index_t width = x.extent(2);
    for (index_t n = 0; n < x.extent(0); ++n) {
      std::fill_n(y.row(n), width, T(0));
      for (index_t t = 0; t < lengths(n); ++t) add_to(y.row(n), x.row(n) + t * width, width);
      const T share = T(1) / static_cast<T>(std::max(lengths(n), 1));
      for (index_t d = 0; d < width; ++d) y(n, d) *= share;
    }
  }
  template <class T>
  static void mean_over_time_backward(Cpu&, In<T, 2> dy, Lengths lengths, View<T, 3> dx, Write write) {
    const index_t width = dx.extent(2);
    if (write == Write::replace) std::fill(dx.begin(), dx.end(), T(0));
    for (index_t n = 0; n < dx.extent(0); ++n) {
      const T share = T(1) / static_cast<T>(std::max(lengths(n), 1));
      for (index_t t = 0; t < lengths(n); ++t)
        for (index_t d = 0; d < width; ++d) dx(n, t, d) += share * dy(n, d);
    }
  }

  /// Rows normalised to mean 0 and variance 1 (biased, plus epsilon), times gamma, plus beta. Keeps mean and 1 / deviation of each row.
  template <class T>
  static void layer_norm(Cpu& cpu, In<T, 2> x, Pointer<const T> gamma, Pointer<const T> beta, T epsilon, View<T, 2> y, T* mean, T* inverse) {
    const index_t width = x.extent(1);
    cpu.parallel(x.extent(0), 64, [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r) {
        const T* in = x.row(r);
        T sum = 0, square = 0;
        for (index_t d = 0; d < width; ++d) sum += in[d];
        const T m = sum / static_cast<T>(width);
        for (index_t d = 0; d < width; ++d) square += (in[d] - m) * (in[d] - m);
        const T s = T(1) / std::sqrt(square / static_cast<T>(width) + epsilon);
        for (index_t d = 0; d < width; ++d) y(r, d) = (in[d] - m) * s * gamma[d] + beta[d];
        mean[r] = m;
        inverse[r] = s;
      }
    });
  }
  /// Gradients; those of gamma and beta (both or none) are written by one rule, dx may be empty.
  template <class T>
  static void layer_norm_backward(Cpu&, In<T, 2> x, In<T, 2> dy, Pointer<const T> gamma, const T* mean, const T* inverse, Pointer<T> d_gamma,
                                  Pointer<T> d_beta, Write parameter_write, View<T, 2> dx, Write write) {
    const index_t width = x.extent(1);
    if (d_gamma && parameter_write == Write::replace) std::fill_n(d_gamma, width, T(0)), std::fill_n(d_beta, width, T(0));
    for (index_t r = 0; r < x.extent(0); ++r) {
      const T *in = x.row(r), *g = dy.row(r);
      const T m = mean[r], s = inverse[r];
      T sum = 0, dot = 0;
      for (index_t d = 0; d < width; ++d) {
        const T normal = (in[d] - m) * s, through = g[d] * gamma[d];
        sum += through;
        dot += through * normal;
        if (d_gamma) d_gamma[d] += g[d] * normal, d_beta[d] += g[d];
      }
      if (!dx.data) continue;
      sum /= static_cast<T>(width);
      dot /= static_cast<T>(width);
      for (index_t d = 0; d < width; ++d) {
        const T value = s * (g[d] * gamma[d] - sum - (in[d] - m) * s * dot);
        dx(r, d) = write == Write::add ? dx(r, d) + value : value;
      }
    }
  }

  /// Attention of every head of every sample: y = softmax(q k^T / sqrt(width of a head)) v over the sample's positions; 0 at the
  /// others. q, k, v, y: N x L x D, head h in columns h D/heads on. `weights` (N * heads * L * L numbers) keeps the softmaxes.
  template <class T>
  static void attention(Cpu& cpu, In<T, 3> q, In<T, 3> k, In<T, 3> v, Lengths lengths, index_t heads, T* weights, View<T, 3> y) {
    const index_t length = y.extent(1), head = y.extent(2) / heads;
    const T scale = T(1) / std::sqrt(static_cast<T>(head));
    std::fill(y.begin(), y.end(), T(0));
    ArenaScope scope(cpu.scratch());
    T* const memory = cpu.scratch().template allocate<T>(4 * length * head);
    for (index_t n = 0; n < y.extent(0); ++n)
      for (index_t h = 0; h < heads; ++h) {
        const index_t count = lengths(n);
        if (count == 0) continue;
        const auto part = [&](int i) { return View<T, 2>{memory + i * length * head, {count, head}}; };
        take(q, n, h, part(0), scale);
        take(k, n, h, part(1));
        take(v, n, h, part(2));
        const View<T, 2> p{weights + (n * heads + h) * length * length, {count, count}};
        Gemm::gemm(cpu, Transpose::no, Transpose::yes, part(0), part(1), p);
        SoftmaxKernels::softmax_forward(cpu, p, p);
        Gemm::gemm(cpu, Transpose::no, Transpose::no, p, part(2), part(3));
        give(part(3), n, h, y, T(1));
      }
  }
  /// Gradients to q, k and v; where one is empty it is not wanted.
  template <class T>
  static void attention_backward(Cpu& cpu, In<T, 3> q, In<T, 3> k, In<T, 3> v, Lengths lengths, index_t heads, const T* weights, In<T, 3> dy,
                                 View<T, 3> dq, Write q_write, View<T, 3> dk, Write k_write, View<T, 3> dv, Write v_write) {
    const index_t length = dy.extent(1), head = dy.extent(2) / heads;
    const T scale = T(1) / std::sqrt(static_cast<T>(head));
    const auto clear = [](View<T, 3> d, Write write) {
      if (d.data && write == Write::replace) std::fill(d.begin(), d.end(), T(0));
    };
    clear(dq, q_write);
    clear(dk, k_write);
    clear(dv, v_write);
    ArenaScope scope(cpu.scratch());
    T* const memory = cpu.scratch().template allocate<T>(5 * length * head + length * length);
    for (index_t n = 0; n < dy.extent(0); ++n)
      for (index_t h = 0; h < heads; ++h) {
        const index_t count = lengths(n);
        if (count == 0) continue;
        const auto part = [&](int i) { return View<T, 2>{memory + i * length * head, {count, head}}; };
        take(q, n, h, part(0));
        take(k, n, h, part(1));
        take(v, n, h, part(2));
        take(dy, n, h, part(3));
        const View<const T, 2> p{weights + (n * heads + h) * length * length, {count, count}};
        const View<T, 2> d{memory + 5 * length * head, {count, count}};
        if (dv.data) {
          Gemm::gemm(cpu, Transpose::yes, Transpose::no, p, part(3), part(4));
          give(part(4), n, h, dv, T(1));
        }
        Gemm::gemm(cpu, Transpose::no, Transpose::yes, part(3), part(2), d);
        SoftmaxKernels::softmax_backward(cpu, p, d, d, Write::replace);
        if (dq.data) {
          Gemm::gemm(cpu, Transpose::no, Transpose::no, d, part(1), part(4));
          give(part(4), n, h, dq, scale);
        }
        if (dk.data) {
          Gemm::gemm(cpu, Transpose::yes, Transpose::no, d, part(0), part(4));
          give(part(4), n, h, dk, scale);
        }
      }
  }

 private:
  /// The columns of head h of sample n, times a factor; and back, added.
  template <class T>
  static void take(View<const T, 3> x, index_t n, index_t h, View<T, 2> to, T factor = T(1)) {
    for (index_t t = 0; t < to.extent(0); ++t) {
      const T* from = x.row(n) + t * x.extent(2) + h * to.extent(1);
      for (index_t d = 0; d < to.extent(1); ++d) to(t, d) = factor * from[d];
    }
  }
  template <class T>
  static void give(View<T, 2> from, index_t n, index_t h, View<T, 3> y, T factor) {
    for (index_t t = 0; t < from.extent(0); ++t) {
      T* to = y.row(n) + t * y.extent(2) + h * from.extent(1);
      for (index_t d = 0; d < from.extent(1); ++d) to[d] += factor * from(t, d);
    }
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
