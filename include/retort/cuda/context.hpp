#pragma once
// The CUDA backend's context and memory policy. Host code: needs the toolkit's headers and libraries, not nvcc.

#include <memory>
#include <retort/core/arena.hpp>
#include <retort/core/tensor.hpp>
#include <retort/cuda/error.hpp>
#include <retort/cuda/matmul.hpp>
#include <retort/cuda/replay.hpp>
#include <retort/cuda/upload.hpp>

#if defined(CUDA_API_PER_THREAD_DEFAULT_STREAM)
#error "retort: copies rely on the legacy default stream, which waits for the kernels; compile without --default-stream per-thread"
#endif

namespace retort {

/// The CUDA backend: one device, one stream, one cuBLAS handle, and scratch memory that is kept between steps. Serves one
/// training thread; its device must be the current one wherever it is used.
///
/// Memory comes in large blocks that arenas and tensors keep, so that a training step asks the driver for none. The
/// stream synchronises with the legacy default stream: copies by `copy` come after the kernels that were launched before.
class Cuda {
 public:
  static constexpr bool host_accessible = false;

  /// Throws cuda_error when there is no such device.
  explicit Cuda(int device = 0) : device_(device) {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
    require<cuda_error>(device >= 0 && device < count, "Cuda: device ", device, " asked for, ", count, " present");
    cuda::check(cudaSetDevice(device), "cudaSetDevice");
    cuda::check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
    cuda::check(cudaStreamCreate(&stream_), "cudaStreamCreate");
  }
  ~Cuda() {
    replay_.reset();
    if (blas_) cublasDestroy(blas_);
    deallocate(workspace_);
    cudaStreamDestroy(stream_);
  }
  Cuda(const Cuda&) = delete;
  Cuda& operator=(const Cuda&) = delete;

  int device() const { return device_; }
  int multiprocessors() const { return multiprocessors_; }
  cudaStream_t stream() const { return stream_; }
  /// Matrix products and convolutions of float on tensor cores: factors rounded to TF32, 10 bits of mantissa, sums in float. Off by
  /// default.
  void allow_tf32(bool on) {
    tf32_ = on;
    if (blas_) set_math();
  }
  bool tf32() const { return tf32_; }
  /// Made with the first product, since that is slow.
  cublasHandle_t blas() {
    if (!blas_) {
      // A workspace of our own: products that become parts of graphs must not allocate in mid-capture, and with another size
      // cuBLAS may choose other kernels, whose sums have other bits.
      if (!workspace_) workspace_ = allocate(workspace_bytes);
      cuda::check(cublasCreate(&blas_), "cublasCreate");
      cuda::check(cublasSetStream(blas_, stream_), "cublasSetStream");  // before the workspace, which it would take away
      cuda::check(cublasSetWorkspace(blas_, workspace_, workspace_bytes), "cublasSetWorkspace");
      set_math();
    }
    return blas_;
  }
  /// One call of cuBLASLt, planned when it is first wanted; null where cuBLASLt has no algorithm for it.
  cuda::Matmul* matmul(const cuda::MatmulKey& key, const void* bias) {
    cuda::Matmul& plan = matmuls_.get(lt(), key, bias, workspace_bytes);
    return plan.planned() ? &plan : nullptr;
  }
  void run(cuda::Matmul& plan, const void* a, const void* b, const void* bias, void* c) {
    plan(lt(), stream_, workspace_, workspace_bytes, a, b, bias, c);
  }
  /// From here on, steps (begin_step to end_step) are replayed as CUDA graphs where they repeat: see cuda/replay.hpp. The
  /// results are the same bits. Off by default. Meanwhile no other thread may use this device's default stream, as another
  /// context's `copy` does: the runtime refuses that while launches are held back.
  void replay_steps(bool on) {
    if (on == static_cast<bool>(replay_)) return;
    replay_ = on ? std::make_unique<cuda::Replay>(stream_, this) : nullptr;
  }
  /// Around the launches of one step. A step that fails is left by abandon_step: what was held back is never launched.
  void begin_step() {
    if (replay_) replay_->begin();
  }
  void end_step() {
    if (replay_) replay_->end();
  }
  void abandon_step() {
    if (replay_) replay_->discard();
  }
  /// Where launches go while a step is gathered; null when there is none.
  cuda::Replay* replay() const { return replay_ && replay_->open() ? replay_.get() : nullptr; }
  /// What became of the steps so far; empty when they are not replayed.
  ReplayRecord replay_record() const { return replay_ ? replay_->record() : ReplayRecord{}; }
  /// Scratch memory for one kernel or one composite operation; use with ArenaScope. Reuse is safe: the stream is in order.
  Arena<Cuda>& scratch() { return scratch_; }

  /// For a buffer that is filled from the host beside the kernels: see cuda/upload.hpp.
  cuda::Upload upload() const { return cuda::Upload(stream_); }

  /// Waits for everything launched so far; throws the error of whatever failed meanwhile.
  void synchronize() const {
    if (replay_) replay_->split();
    cuda::check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }
  /// Copies between host and device, either way, after everything launched so far, and waits. Inside a step use this, not
  /// `copy`, which knows no context.
  void transfer(void* to, const void* from, std::size_t bytes) const {
    if (replay_) replay_->split();
    if (bytes > 0) cuda::check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_), "cudaMemcpyAsync");
    cuda::check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  }

  /// Throws cuda_error when memory lies elsewhere than on this context's device: kernels would fail on it, and the context with them.
  void require_here(const void* memory, const char* what) const {
    cudaPointerAttributes found{};
    cuda::check(cudaPointerGetAttributes(&found, memory), "cudaPointerGetAttributes");
    require<cuda_error>(found.device == device_, what, " lies on device ", found.device, ", but this context belongs to device ", device_);
  }

  // Memory policy of Tensor and Arena, on the current device. `copy` goes between host and device either way, and waits.
  /// Throws device_memory_error; the context stays usable.
  static void* allocate(std::size_t bytes) {
    void* p = nullptr;
    const cudaError_t status = cudaMalloc(&p, bytes);
    if (status == cudaErrorMemoryAllocation) {
      std::size_t free = 0, total = 0;
      cudaGetLastError();  // this error does not stick, but it would be reported again
      cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
      throw device_memory_error(bytes, free);
    }
    cuda::check(status, "cudaMalloc");
    return p;
  }
  static void deallocate(void* p) { cudaFree(p); }  // may come when the context is gone: nothing to report then
  static void fill_zero(void* p, std::size_t bytes) { outside_replay(cudaMemset(p, 0, bytes), "cudaMemset"); }
  static void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) outside_replay(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
  }

 private:
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;  ///< what cuBLAS itself takes on sm_90

  cublasLtHandle_t lt() { return reinterpret_cast<cublasLtHandle_t>(blas()); }  // a handle of cuBLAS is one of cuBLASLt too
  static void outside_replay(cudaError_t status, const char* what) {
    if (status == cudaErrorStreamCaptureImplicit || status == cudaErrorStreamCaptureUnsupported || status == cudaErrorStreamCaptureInvalidated) {
      cudaGetLastError();
      throw cuda_error(detail::concat("CUDA: ", what, " in the middle of a step that is replayed as a graph: it would come before the launches that are held "
                                      "back. Use Cuda::transfer of the tape's backend, or train without FitOptions::cuda_graphs"));
    }
    cuda::check(status, what);
  }
  /// Products that are stored as BFloat16 are summed in float also where cuBLAS adds up parts of the depth: by default it may
  /// round such parts to what the result is stored as.
  void set_math() {
    const int mode = (tf32_ ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH) | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    cuda::check(cublasSetMathMode(blas_, static_cast<cublasMath_t>(mode)), "cublasSetMathMode");
  }
  int device_ = 0, multiprocessors_ = 1;
  cudaStream_t stream_{};
  cublasHandle_t blas_{};
  bool tf32_ = false;
  Arena<Cuda> scratch_;
  void* workspace_ = nullptr;
  cuda::MatmulPlans matmuls_;
  std::unique_ptr<cuda::Replay> replay_;
};

}  // namespace retort
