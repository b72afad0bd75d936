#pragma once
// Training steps as CUDA graphs. Host code: needs the toolkit's headers, not nvcc.
//
//   fit(method, data, sgd, {.epochs = 30, .cuda_graphs = true});        // the one word that a user says
//
// The host's part of a step (recording on the tape, choosing kernels, the optimiser's rates, forks of random streams) runs in
// every step as it always does; what changes is how its launches reach the device. A step that makes the same launches as one
// before it is held back while the host works, then sent as one graph. Arguments may differ from step to step: each launch is
// compared with the captured one, and a node whose arguments have changed (a rate, a Philox stream, the price of a guide, an
// address) is given the new ones. So a method cannot be replayed wrongly: a captured number is never stale, and a policy need
// not know that graphs exist. DiSK's turns of student and guide are two programs, which alternate; a difference of two
// backward passes (autograd/hvp.hpp) reads two norms, which ends one graph and begins the next.
//
// Launches go one by one, as without graphs, where there is nothing to replay, and `ReplayRecord::reason` says why: the first
// two passes through a sequence (the second is captured), less than a handful of launches between two reads, a sequence that
// departs from the captured one (another shape), a driver that refuses.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <retort/config.hpp>
#include <retort/cuda/error.hpp>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace retort {

/// What became of the steps of a context: a segment is what lies between two reads of device memory by the host.
struct ReplayRecord {
  long segments = 0;  ///< all, replayed or not
  long replayed = 0;  ///< sent as one graph
  long captured = 0;  ///< graphs made
  long launches = 0;  ///< kernels and products in the replayed segments
  long patched = 0;   ///< of these, given new arguments
  std::string reason;  ///< why the last segment that was not replayed was not

  std::string describe() const {
    return detail::concat(replayed, " of ", segments, " segments replayed (", captured, " graphs, ", launches, " launches, of which ", patched,
                          " with new arguments)", reason.empty() ? "" : "; last not replayed: ", reason);
  }
};

namespace cuda {

/// Where the arguments of a kernel lie in a buffer.
struct ArgumentLayout {
  const std::size_t* offsets = nullptr;  ///< count + 1 of them; the last is the size of all
  int count = 0;
};
template <class... P>
struct Arguments {
  static_assert((std::is_trivially_copyable_v<P> && ...), "retort: the arguments of a kernel are trivially copyable");
  static constexpr struct Offsets {
    std::size_t at[sizeof...(P) + 1]{};
    constexpr Offsets() {
      std::size_t i = 0, end = 0;
      ((end = (end + alignof(P) - 1) / alignof(P) * alignof(P), at[i++] = end, end += sizeof(P)), ...);
      at[i] = end;
    }
  } offsets{};
  static constexpr ArgumentLayout layout{offsets.at, static_cast<int>(sizeof...(P))};
};

/// One kernel as the host asked for it, or (`run` null) a call of a library that launches kernels of its own.
struct Launch {
  const char* what = nullptr;
  cudaError_t (*run)(const void* function, dim3 grid, dim3 block, void** arguments, cudaStream_t stream) = nullptr;
  const void* function = nullptr;
  dim3 grid{}, block{};
  ArgumentLayout layout{};
  void (*call)(void* context, const void* bytes) = nullptr;
  std::size_t at = 0, bytes = 0;  ///< of the arguments, in the segment's buffer
};

/// The launches of a context, gathered into graphs between begin() and end(). See the head of this page.
class Replay {
 public:
  /// Segments of fewer launches are not worth a graph.
  static constexpr std::size_t least = 4;
  /// Sequences remembered: turns of several blocks, the smaller last batch, pieces between reads.
  static constexpr std::size_t most_programs = 32;

  Replay(cudaStream_t stream, void* context) : stream_(stream), context_(context) {}
  ~Replay() {
    close_guard();
    for (auto& p : programs_) release(*p);
  }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  bool open() const { return open_; }
  const ReplayRecord& record() const { return record_; }

  /// A step begins.
  void begin() {
    open_ = true;
    start_segment();
  }
  /// It ends: what was held back is sent.
  void end() {
    finish_segment();
    open_ = false;
    close_guard();
  }
  /// It failed: what was held back is forgotten.
  void discard() {
    now_ = {};
    open_ = false;
    close_guard();
  }
  /// The host needs everything launched so far: sends what was held back, and begins anew.
  void split() {
    if (!open_) return;
    finish_segment();
    start_segment();
  }

  template <class... P>
  void kernel(const char* what, void (*kernel)(P...), dim3 grid, dim3 block, const P&... arguments) {
    Launch l;
    l.what = what;
    l.run = [](const void* function, dim3 g, dim3 b, void** values, cudaStream_t stream) {
      return cudaLaunchKernel(reinterpret_cast<void (*)(P...)>(const_cast<void*>(function)), g, b, values, 0, stream);
    };
    l.function = reinterpret_cast<const void*>(kernel);
    l.grid = grid;
    l.block = block;
    l.layout = Arguments<P...>::layout;
    std::byte* to = reserve(l, l.layout.offsets[l.layout.count]);
    std::size_t i = 0;
    (pack(to + l.layout.offsets[i++], arguments), ...);
    take(l);
  }
  /// `Call` is trivially copyable and launches by `call(context)` on the context's stream.
  template <class Context, class Call>
  void call(const char* what, const Call& call) {
    static_assert(std::is_trivially_copyable_v<Call>);
    Launch l;
    l.what = what;
    l.call = [](void* context, const void* bytes) {
      Call copy;
      std::memcpy(&copy, bytes, sizeof(Call));
      copy(*static_cast<Context*>(context));
    };
    pack(reserve(l, sizeof(Call)), call);
    take(l);
  }

 private:
  /// What a segment asks for: launches, and the bytes of their arguments.
  struct Segment {
    std::vector<Launch> launches;
    std::vector<std::byte> bytes;
  };
  /// A segment that has been seen, and its graph if it was seen often enough.
  struct Program {
    Segment segment;
    cudaGraph_t graph{};  ///< kept, since its nodes name those of `exec`
    cudaGraphExec_t exec{};
    std::vector<cudaGraphNode_t> nodes;  ///< of the launches, in order
    Program* next = nullptr;             ///< what came after it
    std::uint64_t used = 0;
    std::string refused;  ///< why there will never be a graph
  };

  std::byte* reserve(Launch& l, std::size_t bytes) {
    constexpr std::size_t alignment = alignof(std::max_align_t);
    l.at = (now_.bytes.size() + alignment - 1) / alignment * alignment;
    l.bytes = bytes;
    now_.bytes.resize(l.at + bytes);
    return now_.bytes.data() + l.at;
  }
  /// Bytes between members are cleared: they would differ by chance.
  template <class V>
  static void pack(std::byte* to, const V& value) {
    V copy = value;
    RETORT_CLEAR_PADDING(copy);
    std::memcpy(to, &copy, sizeof(V));
  }

  /// The same launch but for the arguments of a kernel. A library's call takes part with all its bytes, since a graph cannot
  /// be given others: with other addresses it is another program.
  static bool alike(const Segment& a, const Segment& b, std::size_t i) {
    const Launch &p = a.launches[i], &q = b.launches[i];
    const auto same = [](dim3 x, dim3 y) { return x.x == y.x && x.y == y.y && x.z == y.z; };
    if (p.function != q.function || p.call != q.call || p.at != q.at || p.bytes != q.bytes || !same(p.grid, q.grid) || !same(p.block, q.block)) return false;
    return p.run || equal(a, b, i);
  }
  static bool equal(const Segment& a, const Segment& b, std::size_t i) {
    const Launch& p = a.launches[i];
    return p.bytes == 0 || std::memcmp(a.bytes.data() + p.at, b.bytes.data() + p.at, p.bytes) == 0;
  }
  static bool alike(const Segment& a, const Segment& b) {
    if (a.launches.size() != b.launches.size()) return false;
    for (std::size_t i = 0; i < a.launches.size(); ++i)
      if (!alike(a, b, i)) return false;
    return true;
  }

  void take(const Launch& l) {
    now_.launches.push_back(l);
    const std::size_t i = now_.launches.size() - 1;
    if (target_ && follows(*target_, i)) return open_guard();
    const bool held = target_;
    target_ = nullptr;
    if (held || i == 0)
      for (const auto& other : programs_)
        if (other->exec && follows_up_to(*other, i)) {
          target_ = other.get();
          return open_guard();
        }
    if (!held) return issue(l);
    record_.reason = detail::concat("launch ", i, " ('", l.what, "') departs from the captured sequence");
    issue_all();
  }
  bool follows(const Program& p, std::size_t i) const { return i < p.segment.launches.size() && alike(now_, p.segment, i); }
  bool follows_up_to(const Program& p, std::size_t last) const {
    for (std::size_t i = 0; i <= last; ++i)
      if (!follows(p, i)) return false;
    return true;
  }

  void start_segment() {
    now_.launches.clear();
    now_.bytes.clear();
    target_ = last_ && last_->next && last_->next->exec ? last_->next : nullptr;
  }
  void finish_segment() {
    if (now_.launches.empty()) return close_guard();
    ++record_.segments;
    Program* seen = target_ && target_->segment.launches.size() == now_.launches.size() ? target_ : find(now_);
    if (target_ && !(seen && seen->exec)) {
      record_.reason = detail::concat("the sequence ends after ", now_.launches.size(), " launches, the captured one after ", target_->segment.launches.size());
      target_ = nullptr;
      issue_all();
    }
    if (target_) {
      send(*seen);
    } else if (!seen) {
      seen = remember();
      record_.reason = detail::concat("a new sequence of ", now_.launches.size(), " launches");
    } else if (now_.launches.size() < least) {
      record_.reason = detail::concat("only ", now_.launches.size(), " launches before the host reads a result");
    } else if (!seen->refused.empty()) {
      record_.reason = seen->refused;
    } else if (!seen->exec) {
      std::swap(seen->segment, now_);
      capture(*seen);
    }
    if (last_) last_->next = seen;
    last_ = seen;
    seen->used = ++clock_;
    now_.launches.clear();
    now_.bytes.clear();
  }

  Program* find(const Segment& segment) {
    for (const auto& p : programs_)
      if (alike(p->segment, segment)) return p.get();
    return nullptr;
  }

  /// Gives changed nodes their arguments, and launches the graph.
  void send(Program& p) {
    close_guard();
    for (std::size_t i = 0; i < now_.launches.size(); ++i) {
      if (!now_.launches[i].run || equal(now_, p.segment, i)) continue;
      if (const cudaError_t status = cudaGraphExecKernelNodeSetParams(p.exec, p.nodes[i], &parameters(now_, i)); status != cudaSuccess) {
        release(p);
        record_.reason = p.refused = detail::concat("launch ", i, " ('", now_.launches[i].what, "') takes no new arguments: ", cudaGetErrorName(status));
        return issue_all();
      }
      ++record_.patched;
    }
    std::swap(p.segment, now_);
    check(cudaGraphLaunch(p.exec, stream_), "cudaGraphLaunch");
    ++record_.replayed;
    record_.launches += static_cast<long>(p.segment.launches.size());
  }

  void issue(const Launch& l) {
    if (l.run)
      check(l.run(l.function, l.grid, l.block, pointers(now_, l), stream_), l.what);
    else
      l.call(context_, now_.bytes.data() + l.at);
  }
  void issue_all() {
    close_guard();
    for (const Launch& l : now_.launches) issue(l);
  }
  void** pointers(Segment& s, const Launch& l) {
    pointers_.clear();
    for (int k = 0; k < l.layout.count; ++k) pointers_.push_back(s.bytes.data() + l.at + l.layout.offsets[k]);
    return pointers_.data();
  }
  cudaKernelNodeParams& parameters(Segment& s, std::size_t i) {
    const Launch& l = s.launches[i];
    node_ = {};
    node_.func = const_cast<void*>(l.function);
    node_.gridDim = l.grid;
    node_.blockDim = l.block;
    node_.kernelParams = pointers(s, l);
    return node_;
  }

  Program* remember() {
    if (programs_.size() == most_programs) {  // the one that was not used for the longest time makes room
      std::size_t oldest = 0;
      for (std::size_t i = 0; i < programs_.size(); ++i)
        if (programs_[i]->used < programs_[oldest]->used) oldest = i;
      Program* const gone = programs_[oldest].get();
      for (auto& p : programs_)
        if (p->next == gone) p->next = nullptr;
      if (last_ == gone) last_ = nullptr;
      release(*gone);
      programs_.erase(programs_.begin() + static_cast<std::ptrdiff_t>(oldest));
    }
    programs_.push_back(std::make_unique<Program>());
    std::swap(programs_.back()->segment, now_);
    return programs_.back().get();
  }

  /// Makes a graph of a chain: the stream's order, kernels as nodes that take new arguments, each library call as a graph of
  /// its own. What the driver refuses is remembered, and the launches go on one by one.
  void capture(Program& p) {
    cudaError_t status = cudaGraphCreate(&p.graph, 0);
    const char* what = "cudaGraphCreate";
    cudaGraphNode_t before{};
    for (std::size_t i = 0; status == cudaSuccess && i < p.segment.launches.size(); ++i) {
      const Launch& l = p.segment.launches[i];
      cudaGraphNode_t node{};
      what = l.what;
      if (l.run) {
        status = cudaGraphAddKernelNode(&node, p.graph, &before, i > 0, &parameters(p.segment, i));
      } else {
        cudaGraph_t part{};
        status = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed);
        if (status != cudaSuccess) break;
        try {
          l.call(context_, p.segment.bytes.data() + l.at);
        } catch (const cuda_error&) {  // the capture is invalid then, and its end says so
        }
        status = cudaStreamEndCapture(stream_, &part);
        if (status == cudaSuccess) status = cudaGraphAddChildGraphNode(&node, p.graph, &before, i > 0, part);
        if (part) cudaGraphDestroy(part);
      }
      p.nodes.push_back(node);
      before = node;
    }
    if (status == cudaSuccess) {
      what = "cudaGraphInstantiate";
      status = cudaGraphInstantiate(&p.exec, p.graph, 0);
    }
    if (status == cudaSuccess) {
      ++record_.captured;
      record_.reason = "a sequence was captured";
      return;
    }
    cudaGetLastError();
    release(p);
    record_.reason = p.refused = detail::concat("no graph: ", what, ": ", cudaGetErrorName(status));
  }
  static void release(Program& p) {
    if (p.exec) cudaGraphExecDestroy(p.exec);
    if (p.graph) cudaGraphDestroy(p.graph);
    p.exec = {};
    p.graph = {};
    p.nodes.clear();
  }

  // While launches are held back, a copy through the legacy default stream would come too early. An open, empty capture makes
  // the runtime refuse it, which Cuda::copy turns into a sentence.
  void open_guard() {
    if (!guarded_) guarded_ = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed) == cudaSuccess;
  }
  void close_guard() {
    if (!guarded_) return;
    guarded_ = false;
    cudaGraph_t nothing{};
    if (cudaStreamEndCapture(stream_, &nothing) != cudaSuccess) cudaGetLastError();
    if (nothing) cudaGraphDestroy(nothing);
  }

  cudaStream_t stream_;
  void* context_;
  bool open_ = false, guarded_ = false;
  Segment now_;
  std::vector<std::unique_ptr<Program>> programs_;
  Program *target_ = nullptr, *last_ = nullptr;  ///< whose launches are held back; what the segment before this one was
  std::uint64_t clock_ = 0;
  std::vector<void*> pointers_;
  cudaKernelNodeParams node_{};
  ReplayRecord record_;
};

}  // namespace cuda
}  // namespace retort
