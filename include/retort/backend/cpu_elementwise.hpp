#pragma once
// Element-wise, broadcasting, gathering and reducing kernels, and the fused optimiser updates.

#include <bit>
#include <cmath>
#include <limits>
#include <retort/backend/cpu.hpp>
#include <retort/backend/ops.hpp>
#include <retort/backend/simd.hpp>
#include <retort/core/rng.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

/// Calls f(Pack at i) on whole vectors of [begin, end) and f(scalar at i) on the tail; `f(index, tag)` where the tag's
/// type is the value type to use.
template <class T, class F>
RETORT_INLINE void for_lanes(index_t begin, index_t end, F&& f) {
  using P = simd::Native<T>;
  index_t i = begin;
  for (; i + P::lanes <= end; i += P::lanes) f(i, static_cast<P*>(nullptr));
  for (; i < end; ++i) f(i, static_cast<T*>(nullptr));
}
template <class V, class T>
RETORT_INLINE V load_as(const T* p) {
  if constexpr (std::is_same_v<V, T>)
    return *p;
  else
    return V::load(p);
}
template <class V, class T>
RETORT_INLINE void store_as(T* p, V v) {
  if constexpr (std::is_same_v<V, T>)
    *p = v;
  else
    v.store(p);
}

struct Elementwise {
  /// Elements below which splitting over threads costs more than it gains.
  static constexpr index_t grain = 1 << 14;

  template <class T, int R>
  static void fill(Cpu&, T value, View<T, R> y) {
    for (T& e : y) e = value;
  }
  template <class T, int R>
  static void add_scalar(Cpu&, T value, View<T, R> y) {
    for (T& e : y) e += value;
  }
  /// y = (y +) alpha * x.
  template <class T>
  static void accumulate(Cpu& cpu, T alpha, std::type_identity_t<View<const T, 1>> x, View<T, 1> y, Write write) {
    cpu.parallel(y.size(), grain, [=](index_t begin, index_t end, int) {
      for_lanes<T>(begin, end, [&]<class V>(index_t i, V*) {
        const V scaled = V(alpha) * load_as<V>(x.data + i);
        store_as(y.data + i, write == Write::add ? load_as<V>(y.data + i) + scaled : scaled);
      });
    });
  }
  /// y = (y +) alpha * factor[0] * x, or alpha * factor[0] everywhere without x. The factor is in the backend's memory.
  template <class T>
  static void accumulate_by(Cpu& cpu, T alpha, const T* factor, std::type_identity_t<View<const T, 1>> x, View<T, 1> y, Write write) {
    if (x.data)
      accumulate(cpu, alpha * factor[0], x, y, write);
    else if (write == Write::add)
      add_scalar(cpu, alpha * factor[0], y);
    else
      fill(cpu, alpha * factor[0], y);
  }
  /// Same elements, other type (float <-> double), for inputs of a double-precision run.
  template <class From, class To>
  static void convert(Cpu&, View<const From, 1> x, View<To, 1> y) {
    for (index_t i = 0; i < x.size(); ++i) y.data[i] = static_cast<To>(x.data[i]);
  }

  /// y = f(a, b) with extents of 1 repeated along the other operand's.
  template <class F, class T, int R>
  static void binary(Cpu& cpu, F f, View<const T, R> a, View<const T, R> b, View<T, R> y) {
    if (a.shape == b.shape) {
      cpu.parallel(y.size(), grain, [=](index_t begin, index_t end, int) {
        for_lanes<T>(begin, end, [&]<class V>(index_t i, V*) {
          store_as(y.data + i, f.template value<V>(load_as<V>(a.data + i), load_as<V>(b.data + i)));
        });
      });
      return;
    }
    for_each_broadcast(a, b, y.shape, [&](index_t inner, index_t i, index_t ia, bool along_a, index_t ib, bool along_b) {
      for_lanes<T>(0, inner, [&]<class V>(index_t k, V*) {
        store_as(y.data + i + k, f.template value<V>(along<V>(a.data + ia, k, along_a), along<V>(b.data + ib, k, along_b)));
      });
    });
  }
  /// Gradient to the first (`second == false`) or second operand of `binary`, summed over repeated axes.
  template <class F, class T, int R>
  static void binary_backward(Cpu& cpu, F f, bool second, View<const T, R> a, View<const T, R> b, View<const T, R> dy,
                              View<T, R> dx, Write write) {
    if (a.shape == b.shape) {
      cpu.parallel(dy.size(), grain, [=](index_t begin, index_t end, int) {
        for_lanes<T>(begin, end, [&]<class V>(index_t i, V*) {
          const V va = load_as<V>(a.data + i), vb = load_as<V>(b.data + i);
          const V g = load_as<V>(dy.data + i) * (second ? f.template d_second<V>(va, vb) : f.template d_first<V>(va, vb));
          store_as(dx.data + i, write == Write::add ? load_as<V>(dx.data + i) + g : g);
        });
      });
      return;
    }
    if (write == Write::replace) fill(cpu, T(0), dx);
    for_each_broadcast(a, b, dy.shape, [&](index_t inner, index_t i, index_t ia, bool along_a, index_t ib, bool along_b) {
      T* const to = dx.data + (second ? ib : ia);
      const bool each = second ? along_b : along_a;  // else the row adds up to one entry
      simd::Native<T> packs(T(0));
      T rest = T(0);
      for_lanes<T>(0, inner, [&]<class V>(index_t k, V*) {
        const V va = along<V>(a.data + ia, k, along_a), vb = along<V>(b.data + ib, k, along_b);
        const V g = load_as<V>(dy.data + i + k) * (second ? f.template d_second<V>(va, vb) : f.template d_first<V>(va, vb));
        if (each)
          store_as(to + k, load_as<V>(to + k) + g);
        else if constexpr (std::is_arithmetic_v<V>)
          rest += g;
        else
          packs += g;
      });
      if (!each) *to += packs.sum() + rest;
    });
  }

  /// y = (y +) x with the last axis, read as groups x rest, transposed to rest x groups: channel shuffling.
  template <class T>
  static void shuffle_columns(Cpu& cpu, index_t groups, View<const T, 2> x, View<T, 2> y, Write write) {
    const index_t columns = x.extent(1), each = columns / groups;
    cpu.parallel(x.extent(0), grain / std::max<index_t>(1, columns) + 1, [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r)
        for (index_t g = 0; g < groups; ++g)
          for (index_t k = 0; k < each; ++k) {
            T& to = y.row(r)[k * groups + g];
            const T from = x.row(r)[g * each + k];
            to = write == Write::add ? to + from : from;
          }
    });
  }

  /// Sum over one axis, whose extent in y is 1. Fixed order.
  template <class T, int R>
  static void sum_axis(Cpu&, int axis, View<const T, R> x, View<T, R> y) {
    index_t outer = 1, inner = 1;
    for (int a = 0; a < axis; ++a) outer *= x.shape[a];
    for (int a = axis + 1; a < R; ++a) inner *= x.shape[a];
    for (index_t o = 0; o < outer; ++o) {
      T* out = y.data + o * inner;
      if (inner == 1) {
        simd::Native<T> packs(T(0));
        T rest = T(0);
        for_lanes<T>(o * x.shape[axis], (o + 1) * x.shape[axis], [&]<class V>(index_t i, V*) {
          if constexpr (std::is_arithmetic_v<V>)
            rest += x.data[i];
          else
            packs += load_as<V>(x.data + i);
        });
        *out = packs.sum() + rest;
        continue;
      }
      for (index_t i = 0; i < inner; ++i) out[i] = 0;
      for (index_t k = 0; k < x.shape[axis]; ++k) {
        const T* in = x.data + (o * x.shape[axis] + k) * inner;
        for (index_t i = 0; i < inner; ++i) out[i] += in[i];
      }
    }
  }
  /// Adjoint of sum_axis.
  template <class T, int R>
  static void repeat_axis(Cpu&, int axis, View<const T, R> dy, View<T, R> dx, Write write) {
    index_t outer = 1, inner = 1;
    for (int a = 0; a < axis; ++a) outer *= dx.shape[a];
    for (int a = axis + 1; a < R; ++a) inner *= dx.shape[a];
    for (index_t o = 0; o < outer; ++o)
      if (inner == 1)
        for_lanes<T>(o * dx.shape[axis], (o + 1) * dx.shape[axis], [&]<class V>(index_t i, V*) {
          store_as(dx.data + i, write == Write::add ? load_as<V>(dx.data + i) + V(dy.data[o]) : V(dy.data[o]));
        });
      else for (index_t k = 0; k < dx.shape[axis]; ++k) {
        const T* in = dy.data + o * inner;
        T* out = dx.data + (o * dx.shape[axis] + k) * inner;
        for (index_t i = 0; i < inner; ++i) out[i] = write == Write::add ? out[i] + in[i] : in[i];
      }
  }
  /// y[0] = scale * sum of x, accumulated in double in a fixed order.
  template <class T>
  static void scaled_sum(Cpu&, T scale, std::type_identity_t<View<const T, 1>> x, View<T, 1> y) {
    double total = 0;
    for (T e : x) total += static_cast<double>(e);
    y.data[0] = scale * static_cast<T>(total);
  }
  /// The value at a pointer to the backend's memory; waits for a device.
  template <class T>
  static T item(Cpu&, const T* at) { return *at; }
  template <class T>
  static double sum_of_squares(Cpu&, View<const T, 1> x) {
    double total = 0;
    for (T e : x) total += static_cast<double>(e) * static_cast<double>(e);
    return total;
  }

  /// Copies `count` columns from column `from` of x to column `to` of y (or adds them): concatenation and slicing.
  template <class T>
  static void copy_columns(Cpu& cpu, View<const T, 2> x, index_t from, View<T, 2> y, index_t to, index_t count, Write write) {
    cpu.parallel(x.shape[0], grain / (count + 1) + 1, [=](index_t begin, index_t end, int) {
      for (index_t r = begin; r < end; ++r) {
        const T* in = x.row(r) + from;
        T* out = y.row(r) + to;
        for (index_t c = 0; c < count; ++c) out[c] = write == Write::add ? out[c] + in[c] : in[c];
      }
    });
  }

  /// y[i] = table[index[i]] by rows.
  template <class T>
  static void gather_rows(Cpu&, View<const T, 2> table, View<const std::int32_t, 1> index, View<T, 2> y) {
    const index_t width = table.shape[1];
    for (index_t i = 0; i < index.size(); ++i) Cpu::copy(y.row(i), table.row(index.data[i]), static_cast<std::size_t>(width) * sizeof(T));
  }
  /// Adjoint of gather_rows: table[index[i]] += dy[i], in the order of i.
  template <class T>
  static void scatter_add_rows(Cpu& cpu, View<const T, 2> dy, View<const std::int32_t, 1> index, View<T, 2> dtable, Write write) {
    if (write == Write::replace) fill(cpu, T(0), dtable);
    const index_t width = dtable.shape[1];
    for (index_t i = 0; i < index.size(); ++i) {
      const T* in = dy.row(i);
      T* out = dtable.row(index.data[i]);
      for (index_t c = 0; c < width; ++c) out[c] += in[c];
    }
  }

  /// mask[i] = 1 with probability 1 - p, from the stream's word i: independent of threads and of evaluation order.
  static void dropout_mask(Cpu& cpu, const Rng& rng, float p, index_t count, std::uint8_t* mask) {
    cpu.parallel((count + 3) / 4, grain / 4, [=, &rng](index_t begin, index_t end, int) {
      const auto least = static_cast<std::uint32_t>(std::ceil(static_cast<double>(p) * 0x1p24));  // to_unit(word) >= p, without the float
      index_t b = begin;
      for (; b + philox_lanes <= end && 4 * (b + philox_lanes) <= count; b += philox_lanes) {
        std::uint32_t words[4][philox_lanes];
        philox_blocks(rng, static_cast<std::uint64_t>(b), words);
        std::uint32_t in_order[4 * philox_lanes];
        for (int lane = 0; lane < philox_lanes; ++lane)
          for (int k = 0; k < 4; ++k) in_order[4 * lane + k] = words[k][lane] >> 8;
        for (int i = 0; i < 4 * philox_lanes; ++i) mask[4 * b + i] = in_order[i] >= least;
      }
      for (; b < end; ++b) {
        const auto words = rng.block(static_cast<std::uint64_t>(b));
        for (index_t k = 0; k < 4 && 4 * b + k < count; ++k)
          mask[4 * b + k] = Rng::to_unit(words[static_cast<std::size_t>(k)]) >= p;
      }
    });
  }
  /// y = (y +) scale * mask * x; exactly 0 where the mask is 0. Without branches: a mask is a coin, and no one predicts it.
  template <class T>
  static void masked_scale(Cpu& cpu, const std::uint8_t* mask, T scale, std::type_identity_t<View<const T, 1>> x, View<T, 1> y,
                           Write write) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    const auto run = [&](auto add) {
      cpu.parallel(y.size(), grain, [=](index_t begin, index_t end, int) {
        for (index_t i = begin; i < end; ++i) {
          const T v = std::bit_cast<T>(std::bit_cast<Bits>(scale * x.data[i]) & (Bits{0} - Bits{mask[i] != 0}));
          y.data[i] = add ? y.data[i] + v : v;
        }
      });
    };
    write == Write::add ? run(std::true_type{}) : run(std::false_type{});
  }

  /// Per-channel factors of batch normalisation: inv_std = 1/sqrt(variance + epsilon), scale = gamma * inv_std,
  /// shift = beta - mean * scale.
  template <class T>
  static void batch_norm_fold(Cpu&, index_t channels, const T* mean, const T* variance, const T* gamma, const T* beta, T epsilon,
                              T* inv_std, T* scale, T* shift) {
    for (index_t c = 0; c < channels; ++c) {
      inv_std[c] = T(1) / std::sqrt(variance[c] + epsilon);
      scale[c] = gamma[c] * inv_std[c];
      shift[c] = beta[c] - mean[c] * scale[c];
    }
  }
  /// running = (1 - momentum) * running + momentum * factor * batch.
  template <class T>
  static void update_running(Cpu&, index_t channels, T momentum, T factor, const T* batch, T* running) {
    for (index_t c = 0; c < channels; ++c) running[c] = (T(1) - momentum) * running[c] + momentum * factor * batch[c];
  }

  /// Limits every entry's magnitude to `bound`.
  template <class T>
  static void clamp(Cpu&, T bound, View<T, 1> x) {
    for (T& e : x) e = e > bound ? bound : e < -bound ? -bound : e;
  }

  /// An optimiser's rule (functor/optimizer.hpp) on one parameter, in one pass.
  template <class Rule, class T>
  static void update(Cpu& cpu, const Rule& rule, const ParameterUpdate<T>& u) {
    const auto with = [&](auto moments) {  // how many there are is no question to ask in the loop
      constexpr int count = decltype(moments)::value;
      cpu.parallel(u.size, grain, [=](index_t begin, index_t end, int) {
        for_lanes<T>(begin, end, [&]<class V>(index_t i, V*) {
          V w = load_as<V>(u.weight + i), m(T(0)), v(T(0));
          if constexpr (count > 0) m = load_as<V>(u.first + i);
          if constexpr (count > 1) v = load_as<V>(u.second + i);
          rule(u.decays, load_as<V>(u.grad + i), w, count > 0 ? &m : nullptr, count > 1 ? &v : nullptr);
          if constexpr (count > 0) store_as(u.first + i, m);
          if constexpr (count > 1) store_as(u.second + i, v);
          store_as(u.weight + i, w);
        });
      });
    };
    if constexpr (Rule::moments == 2)
      with(std::integral_constant<int, 2>{});
    else if (u.first)
      with(std::integral_constant<int, 1>{});
    else
      with(std::integral_constant<int, 0>{});
  }
  /// The same on each entry of a table in the backend's memory; none is longer than `update_piece`.
  static constexpr index_t update_piece = std::numeric_limits<index_t>::max();
  template <class Rule, class T>
  static void update(Cpu& cpu, const Rule& rule, View<const ParameterUpdate<T>, 1> table) {
    for (const auto& u : table) update(cpu, rule, u);
  }

 private:
  /// As many blocks of a stream at once as the compiler can lay side by side in vectors.
  static constexpr int philox_lanes = 16;
  /// words[k][lane] = word k of block first + lane: Rng::block, lane by lane, the same bits.
  static void philox_blocks(const Rng& rng, std::uint64_t first, std::uint32_t (&words)[4][philox_lanes]) {
    std::uint64_t c0[philox_lanes], c1[philox_lanes], c2[philox_lanes], c3[philox_lanes];  // low halves hold the words
    constexpr std::uint64_t low = 0xffffffffu;
    for (int l = 0; l < philox_lanes; ++l) {
      const std::uint64_t at = first + static_cast<std::uint64_t>(l);
      c0[l] = at & low, c1[l] = at >> 32, c2[l] = rng.stream() & low, c3[l] = rng.stream() >> 32;
    }
    std::uint32_t k0 = static_cast<std::uint32_t>(rng.seed()), k1 = static_cast<std::uint32_t>(rng.seed() >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int l = 0; l < philox_lanes; ++l) {
        const std::uint64_t a = std::uint64_t{0xD2511F53u} * (c0[l] & low), b = std::uint64_t{0xCD9E8D57u} * (c2[l] & low);
        c0[l] = (b >> 32) ^ c1[l] ^ k0, c1[l] = b & low, c2[l] = (a >> 32) ^ c3[l] ^ k1, c3[l] = a & low;
      }
      k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    for (int l = 0; l < philox_lanes; ++l)
      words[0][l] = static_cast<std::uint32_t>(c0[l]), words[1][l] = static_cast<std::uint32_t>(c1[l]), words[2][l] = static_cast<std::uint32_t>(c2[l]),
      words[3][l] = static_cast<std::uint32_t>(c3[l]);
  }

  /// Entry k of a row, or its only one.
  template <class V, class T>
  static V along(const T* p, index_t k, bool each) {
    return each ? load_as<V>(p + k) : V(*p);
  }
  /// f(length, position in out, position in a, whether a goes along, the same of b) for each row of the last axis.
  template <class T, int R, class F>
  static void for_each_broadcast(View<const T, R> a, View<const T, R> b, Shape<R> out, F&& f) {
    index_t stride_a[R], stride_b[R], at[R] = {};
    for (index_t axis = R - 1, sa = 1, sb = 1; axis >= 0; --axis) {
      const int k = static_cast<int>(axis);
      stride_a[k] = a.shape[k] == 1 ? 0 : sa;
      stride_b[k] = b.shape[k] == 1 ? 0 : sb;
      sa *= a.shape[k];
      sb *= b.shape[k];
    }
    const index_t total = out.size(), inner = out[R - 1];
    for (index_t i = 0, ia = 0, ib = 0; i < total; i += inner) {
      f(inner, i, ia, stride_a[R - 1] == 1, ib, stride_b[R - 1] == 1);
      for (int axis = R - 2; axis >= 0; --axis) {
        ia += stride_a[axis];
        ib += stride_b[axis];
        if (++at[axis] < out[axis]) break;
        at[axis] = 0;
        ia -= stride_a[axis] * out[axis];
        ib -= stride_b[axis] * out[axis];
      }
    }
  }
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
