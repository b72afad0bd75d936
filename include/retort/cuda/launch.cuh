#pragma once
// How kernels are launched and how their threads add up: the only place that knows grids, blocks and warps by number.
//
// Kernels are `__global__ static` and live in an inline namespace that carries version and architectures, so that objects
// built for different GPUs can be linked together.

#include <cuda_runtime.h>

#include <cstring>
#include <retort/core/bfloat16.hpp>
#include <retort/core/shape.hpp>
#include <retort/cuda/context.hpp>
#include <tuple>
#include <type_traits>
#include <utility>

namespace retort::cuda {
inline namespace RETORT_CUDA_ABI {

/// What products of stored values are summed in.
template <class Stored>
using Sum = std::conditional_t<std::is_same_v<Stored, BFloat16>, float, Stored>;

inline constexpr int warp_size = 32;
inline constexpr unsigned all_lanes = 0xffffffffu;

/// Launches on the context's stream and checks, or hands the launch to the step that is being gathered (cuda/replay.hpp); with RETORT_CUDA_SYNC_CHECK defined also waits, so that an error is
/// reported where it was made. Does nothing for an empty grid.
template <class... P, class... A>
void launch(const Cuda& cuda, const char* what, void (*kernel)(P...), dim3 grid, dim3 block, A... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (Replay* replay = cuda.replay()) return replay->kernel<P...>(what, kernel, grid, block, static_cast<P>(arguments)...);
  std::tuple<P...> values(static_cast<P>(arguments)...);
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    void* pointers[] = {static_cast<void*>(&std::get<I>(values))...};
    check(cudaLaunchKernel(kernel, grid, block, pointers, 0, cuda.stream()), what);
  }(std::index_sequence_for<P...>{});
#if defined(RETORT_CUDA_SYNC_CHECK)
  check(cudaStreamSynchronize(cuda.stream()), what);
#endif
}

/// Blocks for n items in a loop that strides over the grid: enough to fill the device some times over, no more.
inline unsigned blocks_for(const Cuda& cuda, index_t n, index_t per_block) {
  const index_t most = index_t{32} * cuda.multiprocessors(), wanted = (n + per_block - 1) / per_block;
  return static_cast<unsigned>(wanted < most ? wanted : most);
}

inline constexpr int map_threads = 256, map_blocks = 4;  ///< of a block; that must fit on a multiprocessor: more, and some functors spill

/// f(i) for i in [0, n); f is a trivially copyable functor.
template <class F>
__global__ static void __launch_bounds__(map_threads, map_blocks) map_kernel(index_t n, F f) {
  const index_t stride = index_t{gridDim.x} * blockDim.x;
  for (index_t i = index_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) f(i);
}
template <class F>
void map(const Cuda& cuda, const char* what, index_t n, const F& f) {
  launch(cuda, what, &map_kernel<F>, blocks_for(cuda, n, map_threads), map_threads, n, f);
}

/// A value of any trivially copyable type from the lane `distance` away (its number xor distance).
template <class V>
__device__ inline V from_lane_xor(V v, int distance) {
  static_assert(sizeof(V) % 4 == 0, "retort: what lanes exchange is made of 32-bit words");
  unsigned word[sizeof(V) / 4];
  memcpy(word, &v, sizeof(V));
  for (unsigned& w : word) w = __shfl_xor_sync(all_lanes, w, distance);
  memcpy(&v, word, sizeof(V));
  return v;
}

/// Threads that share a row: a whole block of them, one warp or more. All must call a reduction together. The order of the
/// merges is fixed; every thread gets the same bits, since merges are of (lower, higher) lanes everywhere.
template <int Threads>
struct Group {
  static_assert(Threads % warp_size == 0 && Threads <= 1024);
  static constexpr int threads = Threads, warps = Threads / warp_size;

  static __device__ int rank() { return static_cast<int>(threadIdx.x); }

  template <class V, class Merge>
  static __device__ V reduce(V v, const Merge& merge) {
    const int lane = rank() % warp_size;
    for (int distance = 1; distance < warp_size; distance *= 2) {
      const V other = from_lane_xor(v, distance);
      v = lane & distance ? merge(other, v) : merge(v, other);
    }
    if constexpr (warps > 1) {
      __shared__ unsigned char room[warps * sizeof(V)];
      __syncthreads();  // the room may still be read from the reduction before
      if (lane == 0) memcpy(room + rank() / warp_size * sizeof(V), &v, sizeof(V));
      __syncthreads();
      memcpy(&v, room, sizeof(V));
      for (int w = 1; w < warps; ++w) {
        V other;
        memcpy(&other, room + w * sizeof(V), sizeof(V));
        v = merge(v, other);
      }
    }
    return v;
  }
  template <class V>
  static __device__ V sum(V v) {
    return reduce(v, [](V a, V b) { return a + b; });
  }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace retort::cuda
