#pragma once
// A CUDA runtime that runs kernels on the CPU, for tests on machines without a GPU: this folder goes before the toolkit's
// on the include path, and the library's .cuh headers compile as C++. It is slow and strict:
//   - each thread of a block is a fiber; __syncthreads and warp shuffles switch between them. A barrier that not all
//     threads of the block reach, or a shuffle that misses a lane of its mask, is an error;
//   - device memory is readable only while a kernel or a copy runs: host code that touches it crashes;
//   - fresh device memory holds NaNs.
// What it cannot show: speed, memory coalescing, races between blocks, and what nvcc makes of the code.

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

// --- device memory ------------------------------------------------------------------------------------------------

class DeviceMemory {
 public:
  static constexpr std::size_t reserved = std::size_t{1} << 30, page = 4096;

  static DeviceMemory& instance() {
    static DeviceMemory memory;
    return memory;
  }
  void* allocate(std::size_t bytes) {
    if (bytes > limit - std::min(limit, used)) return nullptr;
    const std::size_t size = (bytes + page - 1) / page * page;
    std::size_t at = top_;
    for (auto it = free_.begin(); it != free_.end(); ++it)
      if (it->second >= size) {
        at = it->first;
        const std::size_t rest = it->second - size;
        free_.erase(it);
        if (rest) free_[at + size] = rest;
        break;
      }
    if (at == top_) {
      if (top_ + size + page > reserved) return nullptr;
      top_ += size;
    }
    blocks_[at] = {size, bytes};
    used += bytes;
    Access open;
    std::memset(base_ + at, 0xff, size);
    return base_ + at;
  }
  bool release(void* p) {
    const auto it = blocks_.find(static_cast<std::size_t>(static_cast<char*>(p) - base_));
    if (it == blocks_.end()) return false;
    free_[it->first] = it->second.first;
    used -= it->second.second;
    blocks_.erase(it);
    return true;
  }
  bool owns(const void* p) const { return p >= base_ && p < base_ + reserved; }

  std::size_t used = 0, limit = reserved - page;  ///< a test may lower the limit

  /// While one lives, the CPU may touch device memory.
  struct Access {
    Access() {
      if (depth()++ == 0) instance().protect(PROT_READ | PROT_WRITE);
    }
    ~Access() {
      if (--depth() == 0) instance().protect(PROT_NONE);
    }
    static int& depth() {
      static int d = 0;
      return d;
    }
  };

 private:
  DeviceMemory() : base_(static_cast<char*>(mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {}
  void protect(int how) {
    if (top_) mprotect(base_, top_, how);
  }
  char* base_;
  std::size_t top_ = 0;
  std::map<std::size_t, std::pair<std::size_t, std::size_t>> blocks_;
  std::map<std::size_t, std::size_t> free_;
};

// --- threads of a block -----------------------------------------------------------------------------------------------

class Block {
 public:
  static Block& instance() {
    static Block block;
    return block;
  }

  template <class Body>
  void run(dim3 threads, Body& body) {
    const std::size_t n = std::size_t{threads.x} * threads.y * threads.z;
    while (fibers_.size() < n) fibers_.push_back(std::make_unique<Fiber>());
    warps_.assign((n + 31) / 32, {});
    invoke_ = [](void* b) { (*static_cast<Body*>(b))(); };
    body_ = &body;
    alive_ = n;
    for (std::size_t i = 0; i < n; ++i) {
      Fiber& f = *fibers_[i];
      f.state = State::ready;
      f.started = false;
      f.index = dim3(static_cast<unsigned>(i % threads.x), static_cast<unsigned>(i / threads.x % threads.y),
                     static_cast<unsigned>(i / threads.x / threads.y));
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = f.stack.get();
      f.context.uc_stack.ss_size = Fiber::stack_bytes;
      f.context.uc_link = nullptr;
      makecontext(&f.context, &Block::enter, 0);
    }
    while (alive_ > 0) {
      bool progress = false;
      for (std::size_t i = 0; i < n; ++i) {
        Fiber& f = *fibers_[i];
        if (f.state != State::ready) continue;
        current_ = i;
        threadIdx = f.index;
        resume(f);
        progress = true;
      }
      std::size_t waiting = 0;
      for (std::size_t i = 0; i < n; ++i) waiting += fibers_[i]->state == State::barrier;
      if (waiting == n) {
        for (std::size_t i = 0; i < n; ++i) fibers_[i]->state = State::ready;
        progress = true;
      }
      if (!progress && alive_ > 0) fail("threads wait for each other: a barrier or shuffle that not all of them reach");
    }
  }

  void barrier() {
    fibers_[current_]->state = State::barrier;
    yield();
  }
  /// Waits until all lanes of the mask are here.
  void warp_barrier(unsigned mask) {
    Warp& w = warps_[current_ / 32];
    const unsigned lane = 1u << (current_ % 32);
    if (!(mask & lane)) fail("a lane outside the mask of its own warp operation");
    if (w.arrived != 0 && w.mask != mask) fail("lanes of a warp meet with different masks");
    w.mask = mask;
    w.arrived |= lane;
    if (w.arrived == mask) {
      w.arrived = 0;
      const std::size_t first = current_ / 32 * 32;
      for (std::size_t l = 0; l < 32; ++l)
        if (mask >> l & 1 && first + l < fibers_.size() && fibers_[first + l]->state == State::warp) fibers_[first + l]->state = State::ready;
      return;
    }
    fibers_[current_]->state = State::warp;
    yield();
  }
  template <class V>
  V exchange(unsigned mask, V value, unsigned source) {
    static_assert(sizeof(V) <= 8);
    Warp& w = warps_[current_ / 32];
    std::memcpy(w.slot[current_ % 32], &value, sizeof(V));
    warp_barrier(mask);
    if (!(mask >> source & 1)) fail("a shuffle reads a lane outside its mask");
    V out;
    std::memcpy(&out, w.slot[source], sizeof(V));
    warp_barrier(mask);
    return out;
  }
  unsigned lane() const { return static_cast<unsigned>(current_ % 32); }

 private:
  enum class State { ready, barrier, warp, done };
  struct Fiber {
    static constexpr std::size_t stack_bytes = 64 << 10;
    ucontext_t context;  ///< for the start; switches go by jumps, which need no system call
    jmp_buf at;
    bool started = false;
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
    State state = State::done;
    dim3 index;
  };
  struct Warp {
    unsigned arrived = 0, mask = 0;
    char slot[32][8];
  };
  static void enter() {
    Block& b = instance();
    b.invoke_(b.body_);
    b.fibers_[b.current_]->state = State::done;
    --b.alive_;
    _longjmp(b.scheduler_, 1);
  }
  void resume(Fiber& f) {
    if (_setjmp(scheduler_) != 0) return;
    if (f.started) _longjmp(f.at, 1);
    f.started = true;
    setcontext(&f.context);
  }
  void yield() {
    if (_setjmp(fibers_[current_]->at) == 0) _longjmp(scheduler_, 1);
  }
  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "CUDA emulation: %s (block %u, %u, %u)\n", what, blockIdx.x, blockIdx.y, blockIdx.z);
    std::abort();
  }
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Warp> warps_;
  jmp_buf scheduler_;
  void (*invoke_)(void*) = nullptr;
  void* body_ = nullptr;
  std::size_t current_ = 0, alive_ = 0;
};

/// Kernels launched since the start, for tests that count.
inline long launches = 0;
/// Copies for which the host waited.
inline long blocking_copies = 0;

}  // namespace emulation

// --- device functions -------------------------------------------------------------------------------------------------

inline void __syncthreads() { emulation::Block::instance().barrier(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::Block::instance().warp_barrier(mask); }
inline int atomicAdd(int* at, int value) { return std::exchange(*at, *at + value); }
template <class V>
V __shfl_sync(unsigned mask, V v, int source, int width = 32) {
  auto& b = emulation::Block::instance();
  return b.exchange(mask, v, b.lane() / width * width + static_cast<unsigned>(source) % width);
}
template <class V>
V __shfl_xor_sync(unsigned mask, V v, int lanes, int = 32) {
  auto& b = emulation::Block::instance();
  return b.exchange(mask, v, b.lane() ^ static_cast<unsigned>(lanes));
}

// --- the runtime API ----------------------------------------------------------------------------------------------------

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorNoDevice = 100, cudaErrorInvalidDevice = 101 };
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrComputeCapabilityMajor = 75 };
using cudaStream_t = void*;

inline const char* cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "out of memory" : e == cudaErrorInvalidDevice ? "invalid device ordinal" : e == cudaSuccess ? "no error" : "invalid argument";
}
inline const char* cudaGetErrorName(cudaError_t e) { return e == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorInvalidValue"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* n) { return *n = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* d) { return *d = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int d) { return d == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
inline cudaError_t cudaDeviceGetAttribute(int* v, cudaDeviceAttr, int) { return *v = 2, cudaSuccess; }
inline cudaError_t cudaStreamCreate(cudaStream_t* s) { return *s = nullptr, cudaSuccess; }
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaMalloc(void** p, std::size_t bytes) {
  return (*p = emulation::DeviceMemory::instance().allocate(bytes)) ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFree(void* p) { return !p || emulation::DeviceMemory::instance().release(p) ? cudaSuccess : cudaErrorInvalidValue; }
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const auto& m = emulation::DeviceMemory::instance();
  return *total = m.limit, *free = m.limit - std::min(m.limit, m.used), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t = nullptr) {
  emulation::DeviceMemory::Access open;
  return std::memmove(to, from, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  ++emulation::blocking_copies;
  return cudaMemcpyAsync(to, from, bytes, kind);
}
inline cudaError_t cudaMemsetAsync(void* p, int v, std::size_t bytes, cudaStream_t = nullptr) {
  emulation::DeviceMemory::Access open;
  return std::memset(p, v, bytes), cudaSuccess;
}
inline cudaError_t cudaMemset(void* p, int v, std::size_t bytes) { return cudaMemsetAsync(p, v, bytes); }
inline cudaError_t cudaMallocHost(void** p, std::size_t bytes) { return (*p = std::malloc(bytes)) ? cudaSuccess : cudaErrorMemoryAllocation; }
inline cudaError_t cudaFreeHost(void* p) { return std::free(p), cudaSuccess; }

template <class... P>
cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block, void** arguments, std::size_t, cudaStream_t) {
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) return cudaErrorInvalidValue;
  emulation::DeviceMemory::Access open;
  ++emulation::launches;
  gridDim = grid;
  blockDim = block;
  auto call = [&]<std::size_t... I>(std::index_sequence<I...>) { kernel(*static_cast<std::remove_reference_t<P>*>(arguments[I])...); };
  auto body = [&] { call(std::index_sequence_for<P...>{}); };
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        emulation::Block::instance().run(block, body);
      }
  return cudaSuccess;
}
