#pragma once
// Matrix products on the CPU. The product is the library's own (packed panels, register tiles of `cpu_tile.hpp`): it
// needs no include beyond the standard library, covers float and double on every instruction set, and fuses the
// epilogue. A program that defines EIGEN_USE_BLAS gets Eigen's product, and through it the BLAS, instead.

#ifdef EIGEN_USE_BLAS
#ifndef EIGEN_DONT_PARALLELIZE
#define EIGEN_DONT_PARALLELIZE  // Threads split the batch (Cpu::parallel); Eigen's own would fight over the cores.
#endif
#include <Eigen/Core>
#endif
#include <concepts>
#include <retort/backend/cpu_columns.hpp>
#include <retort/backend/cpu_tile.hpp>

namespace retort::cpu {
inline namespace RETORT_ISA {

struct Gemm {
  /// c = (c +) op(a) op(b) (+ bias, one entry per column), then the epilogue. op(a) is M x K, op(b) K x N, c M x N.
  /// Threads split the rows of c. Throws shape_error when the shapes do not fit together. `Stored`: the CUDA backend knows
  /// operands of another type than the result, this one does not.
  template <class T, std::same_as<T> Stored = T>
  static void gemm(Cpu& cpu, Transpose ta, Transpose tb, In<T, 2> a, In<T, 2> b, View<T, 2> c,
                   Write write = Write::replace, Pointer<const T> bias = nullptr, Epilogue epilogue = Epilogue::none) {
    const bool at = ta == Transpose::yes, bt = tb == Transpose::yes;
    const index_t m = c.extent(0), n = c.extent(1), k = a.extent(at ? 0 : 1);
    require<shape_error>(a.extent(at ? 1 : 0) == m && b.extent(bt ? 1 : 0) == k && b.extent(bt ? 0 : 1) == n, "gemm: a ",
                         a.shape, at ? " transposed" : "", " times b ", b.shape, bt ? " transposed" : "",
                         " does not give c ", c.shape);
    if (m == 0 || n == 0) return;
    const index_t grain = std::max<index_t>(max_tile_rows<tile_vectors>, (1 << 17) / (n * k + 1));
#ifndef EIGEN_USE_BLAS
    // Several workers share one packed copy of b, which they make together; one worker packs block by block.
    ArenaScope scope(cpu.scratch());
    T* shared = nullptr;
    if (cpu.slices(m, grain) > 1 && n * k <= shared_limit) {
      const index_t panels = (n + panel_width<T> - 1) / panel_width<T>, blocks = k_blocks<T>(k);
      shared = cpu.scratch().template allocate<T>(k * panels * panel_width<T>);
      cpu.parallel(panels, 1, [&](index_t first, index_t last, int) {
        for (index_t block = 0; block < blocks; ++block) {
          const index_t k0 = k * block / blocks, length = k * (block + 1) / blocks - k0;
          for (index_t j = first * panel_width<T>; j < std::min(n, last * panel_width<T>); j += panel_width<T>)
            pack_panel(shared + k0 * panels * panel_width<T> + j * length, b.data + (bt ? j * k + k0 : k0 * n + j), bt ? 1 : n,
                       bt ? k : 1, length, std::min(n - j, panel_width<T>));
        }
      });
    }
#endif
    cpu.parallel(m, grain, [&](index_t first, index_t last, int worker) {
#ifdef EIGEN_USE_BLAS
      (void)worker;
      by_eigen(at, bt, a, b, c, write, bias, epilogue, first, last);
#else
      const TileJob<T> job{.bias = bias, .add = write == Write::add, .relu = epilogue == Epilogue::relu};
      if (at)
        by_tiles<Rows::contiguous>(cpu.scratch(worker), a, b, bt, c, job, first, last, shared);
      else
        by_tiles<Rows::strided>(cpu.scratch(worker), a, b, bt, c, job, first, last, shared);
#endif
    });
  }

  /// out[j] = (out[j] +) sum over the rows of x[.][j]: the gradient of a bias. `out` has as many entries as x columns.
  template <class T, std::same_as<T> Stored = T>
  static void column_sum(Cpu& cpu, In<T, 2> x, T* out, Write write) {
    using P = simd::Native<T>;
    const index_t channels = x.extent(1);
    ArenaScope scope(cpu.scratch());
    T* const sums = write == Write::add ? cpu.scratch().template allocate<T>(channels) : out;
    reduce_rows<1>(cpu, x.extent(0), channels, sums, [&](index_t c, auto width) {
      return [=](index_t r) { return std::array<P, 1>{load(x.data + r * channels + c, width)}; };
    });
    if (write == Write::add) add_to(out, sums, channels);
  }

 private:
  /// Depth of a block of K, and how many blocks there are.
  template <class T>
  static constexpr index_t most_k = 2048 / static_cast<index_t>(sizeof(T));
  template <class T>
  static index_t k_blocks(index_t k) {
    return std::max<index_t>(1, (k + most_k<T> - 1) / most_k<T>);
  }
  /// Elements of b beyond which a shared packed copy would leave the second-level cache.
  static constexpr index_t shared_limit = index_t{1} << 19;

  /// Rows [first, last) of c. K and N are cut into blocks so that a packed block of b stays in the second-level cache
  /// and the rows of a that a tile reads in the first. The first block of K writes as the caller asked and adds the
  /// bias, the others add; the last one applies the epilogue.
  template <Rows A, class T>
  static void by_tiles(Arena<Cpu>& scratch, View<const T, 2> a, View<const T, 2> b, bool b_transposed, View<T, 2> c,
                       TileJob<T> job, index_t first, index_t last, const T* shared) {
    constexpr index_t most_n = 8 * panel_width<T>;
    const index_t n = c.extent(1), k = a.extent(A == Rows::contiguous ? 0 : 1), lda = a.extent(1), ldb = b.extent(1);
    const index_t blocks = k_blocks<T>(k), padded_n = (n + panel_width<T> - 1) / panel_width<T> * panel_width<T>;
    const index_t tiles = tile_count<T>(last - first, std::min(n, panel_width<T>));
    // Few rows do not repay the copy of a panel that can be read in place.
    const bool in_place = !shared && !b_transposed && tiles <= 4;

    ArenaScope scope(scratch);
    T* const own = shared ? nullptr : scratch.allocate<T>(std::min(k, most_k<T>) * std::min(n + panel_width<T>, most_n));
    const T* bias = std::exchange(job.bias, nullptr);
    const bool relu = std::exchange(job.relu, false);
    job.a_stride = lda;
    job.c_stride = n;
    for (index_t block = 0; block < blocks; ++block) {
      const index_t k0 = k * block / blocks;
      job.length = k * (block + 1) / blocks - k0;
      job.relu = relu && block == blocks - 1;
      for (index_t n0 = 0; n0 < n; n0 += most_n) {
        const index_t n1 = std::min(n0 + most_n, n);
        const auto source = [&](index_t j) { return b.data + (b_transposed ? j * ldb + k0 : k0 * ldb + j); };
        const auto reads_in_place = [&](index_t columns) { return in_place && columns == panel_width<T>; };
        const T* const packed = shared ? shared + k0 * padded_n + n0 * job.length : own;
        for (index_t j = n0; j < n1 && !shared; j += panel_width<T>) {
          const index_t columns = std::min(n1 - j, panel_width<T>);
          if (!reads_in_place(columns))
            pack_panel(own + (j - n0) * job.length, source(j), b_transposed ? 1 : ldb, b_transposed ? ldb : 1,
                       job.length, columns);
        }
        for (index_t t = 0; t < tiles; ++t) {
          const index_t r0 = first + (last - first) * t / tiles, r1 = first + (last - first) * (t + 1) / tiles;
          const T* rows = a.data + (A == Rows::contiguous ? k0 * lda + r0 : r0 * lda + k0);
          for (index_t j = n0; j < n1; j += panel_width<T>) {
            const index_t columns = std::min(n1 - j, panel_width<T>);
            const bool direct = reads_in_place(columns);
            job.b_stride = direct ? ldb : packed_stride<T>(columns);
            job.bias = bias ? bias + j : nullptr;
            run_tile<A>(static_cast<int>(r1 - r0), static_cast<int>(columns), job, rows,
                        direct ? source(j) : packed + (j - n0) * job.length, c.data + r0 * n + j);
          }
        }
      }
      job.add = true;
      bias = nullptr;
    }
  }

#ifdef EIGEN_USE_BLAS
  template <class T>
  static void by_eigen(bool at, bool bt, View<const T, 2> a, View<const T, 2> b, View<T, 2> c, Write write,
                       const T* bias, Epilogue epilogue, index_t first, index_t last) {
    using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const Matrix> A(a.data, a.extent(0), a.extent(1)), B(b.data, b.extent(0), b.extent(1));
    Eigen::Map<Matrix> C(c.row(first), last - first, c.extent(1));
    if (write == Write::replace) C.setZero();
    const auto multiply = [&](const auto& left) {
      if (bt)
        C.noalias() += left * B.transpose();
      else
        C.noalias() += left * B;
    };
    if (at)
      multiply(A.middleCols(first, last - first).transpose());
    else
      multiply(A.middleRows(first, last - first));
    if (bias) C.rowwise() += Eigen::Map<const Eigen::Matrix<T, 1, Eigen::Dynamic>>(bias, c.extent(1));
    if (epilogue == Epilogue::relu) C = C.cwiseMax(T{0});
  }
#endif
};

}  // namespace RETORT_ISA
}  // namespace retort::cpu
