#pragma once

#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <retort/core/arena.hpp>
#include <retort/core/error.hpp>
#include <retort/core/tensor.hpp>
#include <thread>
#include <vector>

namespace retort {

/// The CPU backend and its context: a thread count, a small pool that splits batches, and scratch memory per worker.
/// One `Cpu` serves one training thread at a time. Results are bit-identical for a fixed thread count.
class Cpu {
 public:
  static constexpr bool host_accessible = true;  ///< the program may read and write the backend's memory

  /// `threads` >= 1 workers, the calling thread included. Throws value_error otherwise.
  explicit Cpu(int threads = 1) : scratch_(static_cast<std::size_t>(threads > 0 ? threads : 1)) {
    require<value_error>(threads >= 1 && threads <= 1024, "Cpu: expected 1 to 1024 threads, got ", threads);
    if (threads > 1) pool_ = std::make_unique<Pool>(threads - 1);
  }
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

  int threads() const { return static_cast<int>(scratch_.size()); }

  /// Scratch memory of a worker; use with ArenaScope.
  Arena<Cpu>& scratch(int worker = 0) { return scratch_[static_cast<std::size_t>(worker)]; }

  /// Number of slices that `parallel(n, grain, ...)` will use.
  int slices(index_t n, index_t grain) const {
    if (!pool_) return 1;
    const index_t most = (n + grain - 1) / (grain > 0 ? grain : 1);
    return static_cast<int>(most < 1 ? 1 : most < threads() ? most : threads());
  }

  /// Calls `f(begin, end, worker)` on contiguous slices of [0, n), at least about `grain` items each, and waits.
  /// `f` must not throw: kernels check their arguments before they split. Not reentrant.
  template <class F>
  void parallel(index_t n, index_t grain, F&& f) {
    const int parts = slices(n, grain);
    if (parts <= 1) {
      if (n > 0) f(index_t{0}, n, 0);
      return;
    }
    struct Call {
      F& f;
      index_t n;
      int parts;
      static void run(void* self, int worker) {
        auto& c = *static_cast<Call*>(self);
        if (worker < c.parts) c.f(c.n * worker / c.parts, c.n * (worker + 1) / c.parts, worker);
      }
    } call{f, n, parts};
    pool_->run(&Call::run, &call);
  }

  // Memory policy of Tensor and Arena.
  static void* allocate(std::size_t bytes) { return ::operator new(bytes, std::align_val_t{64}); }
  static void deallocate(void* p) { ::operator delete(p, std::align_val_t{64}); }
  static void fill_zero(void* p, std::size_t bytes) { std::memset(p, 0, bytes); }
  static void copy(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }

 private:
  /// Workers spin briefly, then sleep on the epoch: a barrier costs about a microsecond on a quiet machine and no
  /// processor time on a busy one.
  class Pool {
   public:
    explicit Pool(int helpers) {
      for (int i = 0; i < helpers; ++i) workers_.emplace_back([this, i] { loop(i + 1); });
    }
    ~Pool() {
      stop_.store(true);
      epoch_.fetch_add(1);
      epoch_.notify_all();
      for (auto& w : workers_) w.join();
    }
    void run(void (*task)(void*, int), void* argument) {
      task_ = task;
      argument_ = argument;
      pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
      epoch_.fetch_add(1);
      epoch_.notify_all();
      task(argument, 0);
      for (int spin = 0; pending_.load(std::memory_order_acquire) != 0; ++spin)
        if (spin < spin_limit)
          pause();
        else
          for (int left; (left = pending_.load(std::memory_order_acquire)) != 0;) pending_.wait(left);
    }

   private:
    static constexpr int spin_limit = 4000;
    static void pause() {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    void loop(int worker) {
      for (std::uint32_t seen = 0;;) {
        for (int spin = 0; spin < spin_limit && epoch_.load(std::memory_order_acquire) == seen; ++spin) pause();
        epoch_.wait(seen);
        ++seen;
        if (stop_.load()) return;
        task_(argument_, worker);
        if (pending_.fetch_sub(1) == 1) pending_.notify_one();
      }
    }
    std::vector<std::thread> workers_;
    std::atomic<std::uint32_t> epoch_{0};
    std::atomic<int> pending_{0};
    std::atomic<bool> stop_{false};
    void (*task_)(void*, int) = nullptr;
    void* argument_ = nullptr;
  };

  std::vector<Arena<Cpu>> scratch_;
  std::unique_ptr<Pool> pool_;
};

}  // namespace retort
