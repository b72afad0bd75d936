#pragma once
// A CUDA runtime that runs kernels on the CPU, for tests on machines without a GPU: this folder goes before the toolkit's
// on the include path, and the library's .cuh headers compile as C++. It is slow and strict:
//   - each thread of a block is a fiber; __syncthreads and warp shuffles switch between them. A barrier that not all
//     threads of the block reach, or a shuffle that misses a lane of its mask, is an error;
//   - device memory is readable only while a kernel or a copy runs: host code that touches it crashes;
//   - fresh device memory holds NaNs;
//   - an address that a kernel takes to be aligned must be;
//   - a graph is a chain of nodes with arguments of their own; while a capture is open, copies, waits and launches of kernels
//     are refused.
// What it cannot show: speed, memory coalescing, races between blocks, and what nvcc makes of the code.

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
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
  static constexpr std::size_t large = std::size_t{1} << 24;  ///< not filled: each page that exists makes every launch slower

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
    if (bytes >= large) return base_ + at;
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
/// Copies through the legacy default stream, for which the host waits, and waits for a stream.
inline long blocking_copies = 0, waits = 0;

// --- graphs -----------------------------------------------------------------------------------------------------------

/// A kernel's type, known since it was launched by itself.
struct Kernel {
  void (*run)(const void* function, dim3 grid, dim3 block, void** arguments);
  std::vector<std::size_t> sizes;
};
inline std::map<const void*, Kernel> kernels;

/// A node: a kernel with its own copy of the arguments, something else that was captured, or a graph.
struct Node {
  const void* function = nullptr;
  dim3 grid, block;
  std::vector<std::vector<char>> arguments;
  std::function<void()> work;
};
struct Graph {
  std::vector<std::unique_ptr<Node>> nodes;  ///< in the order in which they run: the library makes chains
  Node* add(Node n) {
    nodes.push_back(std::make_unique<Node>(std::move(n)));
    return nodes.back().get();
  }
};
struct Executable {
  std::vector<std::pair<const Node*, Node>> nodes;
};
/// What the open capture of the one stream gathers.
inline std::unique_ptr<Graph> capture;
/// Graphs launched, and made executable, since the start; a test may have the runtime refuse to make more.
inline long graph_launches = 0, graphs_made = 0;
inline bool refuse_graphs = false;

}  // namespace emulation

// --- device functions -------------------------------------------------------------------------------------------------

inline void __syncthreads() { emulation::Block::instance().barrier(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::Block::instance().warp_barrier(mask); }
namespace emulation {
/// A device refuses wide accesses to addresses that are not multiples of their width.
template <class V>
V* aligned(V* p, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(p) % bytes != 0) {
    std::fprintf(stderr, "CUDA emulation: misaligned address\n");
    std::abort();
  }
  return p;
}
}  // namespace emulation
#define __builtin_assume_aligned(pointer, bytes) emulation::aligned(pointer, bytes)
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

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotSupported = 801,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureImplicit = 906
};
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrComputeCapabilityMajor = 75 };
namespace emulation {
/// Work of a stream made with flags: it waits until someone waits for it, so that what comes too early shows. The other
/// streams are the null one, whose work is done at once.
struct Stream {
  std::deque<std::pair<long, std::function<void()>>> work;
  long issued = 0;
  std::size_t after = 0;  ///< what was cleared that it has waited for
  void run(long upto) {
    for (; !work.empty() && work.front().first <= upto; work.pop_front()) work.front().second();
  }
};
struct Event {
  Stream* stream = nullptr;
  long upto = 0;
  std::chrono::steady_clock::time_point at{};
  std::size_t after = 0;
};
/// What cudaMemset was asked to clear. A device does that after the call has returned, and a stream that does not wait for the
/// default one may write there before: an error here, unless it waited for an event, or the host for the default stream.
inline std::vector<std::pair<const char*, const char*>> cleared;
inline std::size_t settled = 0;
inline void check_order(const Stream& s, const void* to, std::size_t bytes) {
  const char* const p = static_cast<const char*>(to);
  for (std::size_t i = std::max(settled, s.after); i < cleared.size(); ++i)
    if (p < cleared[i].second && cleared[i].first < p + bytes) {
      std::fprintf(stderr, "CUDA emulation: a copy beside the clearing of the same memory\n");
      std::abort();
    }
}
inline long streams_alive = 0, uploads = 0;
}  // namespace emulation
using cudaStream_t = emulation::Stream*;
using cudaEvent_t = emulation::Event*;
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

inline const char* cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "out of memory" : e == cudaErrorInvalidDevice ? "invalid device ordinal" : e == cudaSuccess ? "no error" : "invalid argument";
}
inline const char* cudaGetErrorName(cudaError_t e) { return e == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "cudaErrorInvalidValue"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
namespace emulation {
inline int memory_device = 0;  ///< where all memory is said to lie
}
struct cudaPointerAttributes {
  int type, device;
  void *devicePointer, *hostPointer;
};
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void*) { return a->device = emulation::memory_device, cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* n) { return *n = 1, cudaSuccess; }
inline cudaError_t cudaGetDevice(int* d) { return *d = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int d) { return d == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
inline cudaError_t cudaDeviceGetAttribute(int* v, cudaDeviceAttr, int) { return *v = 2, cudaSuccess; }
struct cudaDeviceProp {
  char name[256];
};
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) { return *p = {"emulation on a CPU"}, cudaSuccess; }
inline cudaError_t cudaStreamCreate(cudaStream_t* s) { return *s = nullptr, cudaSuccess; }
inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) { return ++emulation::streams_alive, *s = new emulation::Stream, cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  if (s) return s->run(s->issued), cudaSuccess;
  ++emulation::waits;
  if (emulation::capture) return cudaErrorStreamCaptureUnsupported;
  return emulation::settled = emulation::cleared.size(), cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t s) {
  if (s) s->run(s->issued), --emulation::streams_alive;
  return delete s, cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { return *e = new emulation::Event, cudaSuccess; }
inline cudaError_t cudaEventCreate(cudaEvent_t* e) { return cudaEventCreateWithFlags(e, 0); }
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  return *ms = std::chrono::duration<float, std::milli>(to->at - from->at).count(), cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t e) { return delete e, cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  return *e = {s, s ? s->issued : 0, std::chrono::steady_clock::now(), s ? s->after : emulation::cleared.size()}, cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  if (e->stream) e->stream->run(e->upto);
  return cudaSuccess;
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
  if (emulation::capture) return cudaErrorStreamCaptureUnsupported;
  if (!s) return cudaEventSynchronize(e);
  return s->after = std::max(s->after, e->after), cudaSuccess;  // other work that it may wait for is done already
}
inline cudaError_t cudaMalloc(void** p, std::size_t bytes) {
  return (*p = emulation::DeviceMemory::instance().allocate(bytes)) ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFree(void* p) {
  if (p) emulation::settled = emulation::cleared.size();  // it waits for the device
  return !p || emulation::DeviceMemory::instance().release(p) ? cudaSuccess : cudaErrorInvalidValue;
}
inline cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const auto& m = emulation::DeviceMemory::instance();
  return *total = m.limit, *free = m.limit - std::min(m.limit, m.used), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t s = nullptr) {
  if (s) {
    ++emulation::uploads;
    emulation::check_order(*s, to, bytes);
    s->work.emplace_back(++s->issued, [=] {
      emulation::DeviceMemory::Access open;
      std::memmove(to, from, bytes);
    });
    return cudaSuccess;
  }
  if (emulation::capture) return cudaErrorStreamCaptureUnsupported;
  emulation::DeviceMemory::Access open;
  return std::memmove(to, from, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  ++emulation::blocking_copies;
  if (emulation::capture) return cudaErrorStreamCaptureImplicit;
  emulation::settled = emulation::cleared.size();
  return cudaMemcpyAsync(to, from, bytes, kind);
}
inline cudaError_t cudaMemsetAsync(void* p, int v, std::size_t bytes, cudaStream_t = nullptr) {
  emulation::DeviceMemory::Access open;
  return std::memset(p, v, bytes), cudaSuccess;
}
inline cudaError_t cudaMemset(void* p, int v, std::size_t bytes) {
  if (emulation::capture) return cudaErrorStreamCaptureImplicit;
  emulation::cleared.emplace_back(static_cast<const char*>(p), static_cast<const char*>(p) + bytes);
  return cudaMemsetAsync(p, v, bytes);
}
inline cudaError_t cudaMallocHost(void** p, std::size_t bytes) { return (*p = std::malloc(bytes)) ? cudaSuccess : cudaErrorMemoryAllocation; }
inline cudaError_t cudaFreeHost(void* p) { return std::free(p), cudaSuccess; }

namespace emulation {
template <class... P>
void run(void (*kernel)(P...), dim3 grid, dim3 block, void** arguments) {
  DeviceMemory::Access open;
  ++launches;
  gridDim = grid;
  blockDim = block;
  auto call = [&]<std::size_t... I>(std::index_sequence<I...>) { kernel(*static_cast<std::remove_reference_t<P>*>(arguments[I])...); };
  auto body = [&] { call(std::index_sequence_for<P...>{}); };
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        Block::instance().run(block, body);
      }
}
inline bool valid(dim3 grid, dim3 block) {
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  return threads > 0 && threads <= 1024 && grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.y <= 65535 && grid.z <= 65535;
}
}  // namespace emulation

template <class... P>
cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block, void** arguments, std::size_t, cudaStream_t) {
  if (!emulation::valid(grid, block)) return cudaErrorInvalidValue;
  if (emulation::capture) return cudaErrorStreamCaptureUnsupported;  // the library makes nodes of its kernels itself
  emulation::kernels[reinterpret_cast<const void*>(kernel)] = {
      [](const void* function, dim3 g, dim3 b, void** values) { emulation::run(reinterpret_cast<void (*)(P...)>(const_cast<void*>(function)), g, b, values); },
      {sizeof(P)...}};
  emulation::run(kernel, grid, block, arguments);
  return cudaSuccess;
}

// --- graphs -------------------------------------------------------------------------------------------------------------

using cudaGraph_t = emulation::Graph*;
using cudaGraphNode_t = emulation::Node*;
using cudaGraphExec_t = emulation::Executable*;
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
struct cudaKernelNodeParams {
  void* func = nullptr;
  dim3 gridDim, blockDim;
  unsigned sharedMemBytes = 0;
  void **kernelParams = nullptr, **extra = nullptr;
};

inline cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  if (emulation::capture) return cudaErrorInvalidValue;
  emulation::capture = std::make_unique<emulation::Graph>();
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  return (*graph = emulation::capture.release()) ? cudaSuccess : cudaErrorInvalidValue;
}
inline cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned) { return *graph = new emulation::Graph, cudaSuccess; }
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }

namespace emulation {
/// A chain only: a node comes after the one before it.
inline bool chained(cudaGraph_t graph, const cudaGraphNode_t* after, std::size_t count) {
  return graph->nodes.empty() ? count == 0 : count == 1 && *after == graph->nodes.back().get();
}
inline bool set(Node& node, const cudaKernelNodeParams& p) {
  const auto kernel = kernels.find(p.func);
  if (kernel == kernels.end() || !valid(p.gridDim, p.blockDim)) return false;
  node.function = p.func;
  node.grid = p.gridDim;
  node.block = p.blockDim;
  node.arguments.clear();
  for (std::size_t i = 0; i < kernel->second.sizes.size(); ++i) {
    const char* from = static_cast<const char*>(p.kernelParams[i]);
    node.arguments.emplace_back(from, from + kernel->second.sizes[i]);
  }
  return true;
}
}  // namespace emulation

inline cudaError_t cudaGraphAddKernelNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* after, std::size_t count,
                                          const cudaKernelNodeParams* p) {
  emulation::Node made;
  if (!emulation::chained(graph, after, count) || !emulation::set(made, *p)) return cudaErrorInvalidValue;
  return *node = graph->add(std::move(made)), cudaSuccess;
}
inline cudaError_t cudaGraphAddChildGraphNode(cudaGraphNode_t* node, cudaGraph_t graph, const cudaGraphNode_t* after, std::size_t count, cudaGraph_t child) {
  if (!emulation::chained(graph, after, count)) return cudaErrorInvalidValue;
  emulation::Node made;
  std::vector<std::function<void()>> works;
  for (const auto& n : child->nodes) works.push_back(n->work);
  made.work = [works] {
    for (const auto& w : works) w();
  };
  return *node = graph->add(std::move(made)), cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (emulation::refuse_graphs) return cudaErrorNotSupported;
  ++emulation::graphs_made;
  *exec = new emulation::Executable;
  for (const auto& n : graph->nodes) (*exec)->nodes.emplace_back(n.get(), *n);
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return delete exec, cudaSuccess; }
inline cudaError_t cudaGraphExecKernelNodeSetParams(cudaGraphExec_t exec, cudaGraphNode_t node, const cudaKernelNodeParams* p) {
  for (auto& [original, mine] : exec->nodes)
    if (original == node) return mine.function == p->func && emulation::set(mine, *p) ? cudaSuccess : cudaErrorInvalidValue;
  return cudaErrorInvalidValue;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t) {
  if (emulation::capture) return cudaErrorStreamCaptureUnsupported;
  ++emulation::graph_launches;
  for (auto& [original, node] : exec->nodes) {
    if (!node.function) {
      node.work();
      continue;
    }
    std::vector<void*> arguments;
    for (auto& a : node.arguments) arguments.push_back(a.data());
    emulation::kernels.at(node.function).run(node.function, node.grid, node.block, arguments.data());
  }
  return cudaSuccess;
}
