#pragma once
// Batches sent ahead. Host code: needs the toolkit's headers, not nvcc.
//
//   auto upload = cuda.upload();                     // one for each buffer that is filled ahead
//   upload.reclaim();  /* write page-locked memory */  upload.send(device, pinned, bytes);
//   upload.await();    /* launch what reads it */      upload.release();
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <cstddef>
#include <cstring>
#include <retort/cuda/error.hpp>
#include <utility>

namespace retort::cuda {

/// Memory policy of Tensor: page-locked host memory, from which a device copies while the host goes on.
struct Pinned {
  static void* allocate(std::size_t bytes) {
    void* p = nullptr;
    check(cudaMallocHost(&p, bytes), "cudaMallocHost");
    return p;
  }
  static void deallocate(void* p) {
    if (p) cudaFreeHost(p);
  }
  static void fill_zero(void* p, std::size_t bytes) { std::memset(p, 0, bytes); }
  static void copy(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
};

/// Copies from page-locked memory into one buffer on the device, on a stream of their own, beside the kernels of another
/// buffer. Two events keep the order: copies come after what was launched before `release`, the first ones after what was
/// launched before the Upload was made; kernels launched after `await` come after the copies.
class Upload {
 public:
  using host_memory = Pinned;

  /// `compute` is the stream of the kernels that read the buffer.
  explicit Upload(cudaStream_t compute) : compute_(compute) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    check(cudaEventCreateWithFlags(&sent_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    check(cudaEventCreateWithFlags(&released_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    release();  // a new buffer is still being cleared on the default stream, which the stream of the copies does not wait for
  }
  Upload(Upload&& other) noexcept
      : compute_(other.compute_), stream_(std::exchange(other.stream_, {})), sent_(std::exchange(other.sent_, {})), released_(std::exchange(other.released_, {})) {}
  Upload& operator=(Upload&&) = delete;
  ~Upload() {
    if (!stream_) return;
    cudaStreamSynchronize(stream_);
    cudaEventDestroy(released_);
    cudaEventDestroy(sent_);
    cudaStreamDestroy(stream_);
  }

  /// Waits until the host may write again what it sent last.
  void reclaim() { check(cudaEventSynchronize(sent_), "cudaEventSynchronize"); }
  /// Page-locked memory to the buffer, or to a part of it.
  void send(void* to, const void* from, std::size_t bytes) {
    check(cudaStreamWaitEvent(stream_, released_, 0), "cudaStreamWaitEvent");
    if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "cudaMemcpyAsync");
    check(cudaEventRecord(sent_, stream_), "cudaEventRecord");
  }
  void await() { check(cudaStreamWaitEvent(compute_, sent_, 0), "cudaStreamWaitEvent"); }
  /// All that reads the buffer has been launched.
  void release() { check(cudaEventRecord(released_, compute_), "cudaEventRecord"); }

 private:
  cudaStream_t compute_{}, stream_{};
  cudaEvent_t sent_{}, released_{};
};

}  // namespace retort::cuda
