// Devices and queues of the CUDA runtime: what stands behind device.h in builds
// with CUDA, and for the files of that build alone. All of the runtime's errors
// become sentences in Explain.
#pragma once

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "cuda/cuda_kernels.h"
#include "cuda/cuda_libraries.h"
#include "cuda/device.h"

namespace lcsm::cuda {

// What a queue's work may wait for: other GPUs of a model that is split.
class CudaPeers {
 public:
  virtual ~CudaPeers() = default;
  // False: one is lost, and whatever waited for it has been ended.
  virtual bool AreThere() noexcept = 0;
};

// One sentence for whatever a call said.
Status Explain(cudaError_t error, const std::string& who, const char* doing);

class CudaDevice final : public Device {
 public:
  static StatusOr<std::shared_ptr<Device>> Open(int index,
                                                const CudaOptions& options);
  ~CudaDevice() override {
    Use();
#ifdef LCSM_CUDNN
    if (cudnn_ != nullptr) (void)cudnn_functions_->destroy(cudnn_);
#endif
    if (copies_ != nullptr) (void)cudaStreamDestroy(copies_);
  }

  const DeviceInfo& info() const override { return info_; }
  StatusOr<size_t> FreeBytes() override {
    Use();
    size_t left = 0, all = 0;
    LCSM_RETURN_IF_ERROR(
        Check(cudaMemGetInfo(&left, &all), "asked for its free memory"));
    return left;
  }
  Status status() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
  }
  Status Upload(void* to, const void* from, size_t bytes) override {
    return CopyAndWait(to, from, bytes, cudaMemcpyHostToDevice);
  }
  Status Download(void* to, const void* from, size_t bytes) override {
    return CopyAndWait(to, from, bytes, cudaMemcpyDeviceToHost);
  }
  StatusOr<std::unique_ptr<Queue>> NewQueue(bool background) override;
  StatusOr<std::unique_ptr<BatchedFft>> NewBatchedFft(size_t length,
                                                      size_t batch) override;
  StatusOr<std::unique_ptr<DepthwiseConvolution>> NewDepthwise(
      size_t channels, size_t length) override;
  StatusOr<std::shared_ptr<Communicator>> NewCommunicator(
      std::span<const std::shared_ptr<Device>> devices) override;
  // What cuBLAS's manual recommends.
  size_t GemmWorkBytes() const override {
    return size_t{info_.major >= 9 ? 32u : 4u} << 20;
  }

#ifdef LCSM_CUDNN
  // `ask` of a handle that all threads share one after another and that runs
  // nothing: to make one synchronises the device and takes its time.
  template <typename Ask>
  cudnnStatus_t AskCudnn(const CudnnFunctions& functions, Ask&& ask) {
    const std::lock_guard<std::mutex> lock(cudnn_mutex_);
    if (cudnn_ == nullptr) {
      cudnn_functions_ = &functions;
      const cudnnStatus_t made = functions.create(&cudnn_);
      if (made != CUDNN_STATUS_SUCCESS) return made;
    }
    return ask(cudnn_);
  }
#endif
  int index() const { return index_; }
  // Whether a launch may begin before the one in front of it has ended; fixed
  // before anybody else has the device.
  bool overlaps() const { return overlaps_; }
  // Whether it still answers; remembers why not.
  bool Answers() {
    Use();
    const cudaError_t error = cudaStreamQuery(copies_);
    if (error != cudaErrorNotReady) {
      return Check(error, "it ran our launches").ok() && status().ok();
    }
    (void)cudaGetLastError();
    return status().ok();
  }
  // The runtime's device is a thread's own.
  void Use() const { (void)cudaSetDevice(index_); }
  Status Explained(cudaError_t error, const char* doing) const {
    return Explain(error, fmt::format("{} ({})", info_.label, info_.name),
                   doing);
  }
  // Remembers the first error.
  Status Check(cudaError_t error, const char* doing) {
    if (error == cudaSuccess) return OkStatus();
    return Record(Explained(error, doing));
  }
  Status Record(Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (status_.ok()) status_ = status;
    return status;
  }

 private:
  explicit CudaDevice(int index) : index_(index) {}
  // Whether kernels wait for launches in front of them by themselves, and the
  // driver captures launches that leave that to them.
  bool MayOverlap();

  Status CopyAndWait(void* to, const void* from, size_t bytes,
                     cudaMemcpyKind kind) {
    if (bytes == 0) return status();
    Use();
    const std::lock_guard<std::mutex> lock(copy_mutex_);
    LCSM_RETURN_IF_ERROR(
        Check(cudaMemcpyAsync(to, from, bytes, kind, copies_), "copying"));
    return Check(cudaStreamSynchronize(copies_), "copying");
  }
  void* DoAllocate(size_t bytes) noexcept override {
    Use();
    void* data = nullptr;
    if (cudaMalloc(&data, bytes) == cudaSuccess) return data;
    (void)cudaGetLastError();  // Not an error of anything that runs.
    return nullptr;
  }
  void DoFree(void* data) noexcept override {
    Use();
    (void)cudaFree(data);
  }
  void* DoAllocateHost(size_t bytes) noexcept override {
    Use();
    void* data = nullptr;
    if (cudaMallocHost(&data, bytes) == cudaSuccess) return data;
    (void)cudaGetLastError();
    return nullptr;
  }
  void DoFreeHost(void* data) noexcept override {
    Use();
    (void)cudaFreeHost(data);
  }
  Status DoClear(void* data, size_t bytes) override {
    if (bytes == 0) return status();
    Use();
    const std::lock_guard<std::mutex> lock(copy_mutex_);
    LCSM_RETURN_IF_ERROR(
        Check(cudaMemsetAsync(data, 0, bytes, copies_), "clearing memory"));
    return Check(cudaStreamSynchronize(copies_), "clearing memory");
  }

  const int index_;
  DeviceInfo info_;
  bool overlaps_ = false;
  cudaStream_t copies_ = nullptr;
  std::mutex copy_mutex_;
#ifdef LCSM_CUDNN
  std::mutex cudnn_mutex_;
  const CudnnFunctions* cudnn_functions_ = nullptr;
  cudnnHandle_t cudnn_ = nullptr;
#endif
  mutable std::mutex mutex_;
  Status status_;
};

class CudaGraph final : public Graph {
 public:
  CudaGraph(std::shared_ptr<CudaDevice> device, cudaGraphExec_t exec)
      : device_(std::move(device)), exec_(exec) {}
  ~CudaGraph() override {
    device_->Use();
    (void)cudaGraphExecDestroy(exec_);
  }
  cudaGraphExec_t exec() const { return exec_; }

 private:
  const std::shared_ptr<CudaDevice> device_;
  const cudaGraphExec_t exec_;
};

class CudaQueue final : public Queue {
 public:
  explicit CudaQueue(std::shared_ptr<CudaDevice> device)
      : device_(std::move(device)) {}
  ~CudaQueue() override {
    device_->Use();
    if (stream_ != nullptr) (void)cudaStreamSynchronize(stream_);
    if (cublas_ != nullptr) (void)functions_->destroy(cublas_);
#ifdef LCSM_CUDNN
    if (cudnn_ != nullptr) (void)cudnn_functions_->destroy(cudnn_);
#endif
    if (here_ != nullptr) (void)cudaEventDestroy(here_);
    if (mark_ != nullptr) (void)cudaEventDestroy(mark_);
    if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
  }

  Status Make(bool background) {
    device_->Use();
    // Not recorded: what cannot be made takes nothing from what runs.
    const auto made = [this](cudaError_t error) {
      return device_->Explained(error, "a queue was made");
    };
    int least = 0, greatest = 0;
    LCSM_RETURN_IF_ERROR(
        made(cudaDeviceGetStreamPriorityRange(&least, &greatest)));
    LCSM_RETURN_IF_ERROR(made(cudaStreamCreateWithPriority(
        &stream_, cudaStreamNonBlocking, background ? least : greatest)));
    LCSM_RETURN_IF_ERROR(
        made(cudaEventCreateWithFlags(&here_, cudaEventDisableTiming)));
    return made(cudaEventCreateWithFlags(&mark_, cudaEventDisableTiming));
  }
  // Whoever takes it enqueues something there that is no launch of ours.
  cudaStream_t stream() {
    behind_launch_ = false;
    return stream_;
  }
  const std::shared_ptr<CudaDevice>& device() const { return device_; }
  // From now on its work may wait for others.
  void Join(std::shared_ptr<CudaPeers> peers) { peers_ = std::move(peers); }

  void CopyIn(void* to, const void* from, size_t bytes) noexcept override {
    CopyKind(to, from, bytes, cudaMemcpyHostToDevice);
  }
  void CopyOut(void* to, const void* from, size_t bytes) noexcept override {
    CopyKind(to, from, bytes, cudaMemcpyDeviceToHost);
  }
  void Copy(void* to, const void* from, size_t bytes) noexcept override {
    CopyKind(to, from, bytes, cudaMemcpyDeviceToDevice);
  }
  void Clear(void* at, size_t bytes) noexcept override {
    device_->Use();
    if (bytes != 0) (void)Check(cudaMemsetAsync(at, 0, bytes, stream()));
  }
  Status PrepareGemm() override;
  void Gemm(const GemmWork& work) noexcept override;
#ifdef LCSM_CUDNN
  // A handle for this stream, made when it is first asked for: all the queue's
  // convolutions share it.
  cudnnStatus_t Cudnn(const CudnnFunctions& functions, cudnnHandle_t* handle);
#endif
  // What a launch met: the device's, or the end of the capture or trial under
  // way.
  void Record(Status status) {
    if (!capturing_ && !trying_) {
      (void)device_->Record(std::move(status));
    } else if (captured_.ok()) {
      captured_ = std::move(status);
    }
  }
  void RecordLibrary(const char* library, int code);
  void WaitFor(Queue& other) noexcept override {
    auto& from = static_cast<CudaQueue&>(other);
    device_->Use();
    (void)Check(cudaEventRecord(from.here_, from.stream()));
    (void)Check(cudaStreamWaitEvent(stream(), from.here_, 0));
  }
  Status BeginCapture() override {
    device_->Use();
    // Other threads may go on allocating meanwhile.
    const cudaError_t error =
        cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal);
    if (error != cudaSuccess) return NotCaptured(error);
    capturing_ = true;
    return OkStatus();
  }
  StatusOr<std::unique_ptr<Graph>> EndCapture() override {
    device_->Use();
    capturing_ = false;
    const Status met = std::exchange(captured_, OkStatus());
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    cudaError_t error = cudaStreamEndCapture(stream(), &graph);
    if (error == cudaSuccess && met.ok()) {
      error = cudaGraphInstantiate(&exec, graph, 0);
    }
    if (graph != nullptr) (void)cudaGraphDestroy(graph);
    if (error != cudaSuccess) return NotCaptured(error);
    LCSM_RETURN_IF_ERROR(met);
    return std::unique_ptr<Graph>(std::make_unique<CudaGraph>(device_, exec));
  }
  void BeginTrial() noexcept override { trying_ = true; }
  Status EndTrial() noexcept override {
    trying_ = false;
    const Status met = std::exchange(captured_, OkStatus());
    if (!met.ok()) (void)cudaGetLastError();
    LCSM_RETURN_IF_ERROR(Wait());
    return met;
  }
  void Replay(const Graph& graph) noexcept override {
    device_->Use();
    (void)Check(
        cudaGraphLaunch(static_cast<const CudaGraph&>(graph).exec(), stream()));
  }
  Status Wait() noexcept override {
    device_->Use();
    LCSM_RETURN_IF_ERROR(
        WaitWithPeers([this] { return cudaStreamQuery(stream_); }));
    LCSM_RETURN_IF_ERROR(Check(cudaStreamSynchronize(stream_)));
    return device_->status();
  }
  void Mark() noexcept override {
    device_->Use();
    (void)Check(cudaEventRecord(mark_, stream()));
  }
  Status WaitForMark() noexcept override {
    device_->Use();
    LCSM_RETURN_IF_ERROR(
        WaitWithPeers([this] { return cudaEventQuery(mark_); }));
    LCSM_RETURN_IF_ERROR(Check(cudaEventSynchronize(mark_)));
    return device_->status();
  }

 protected:
  void LaunchBytes(size_t kernel, int threads, uint64_t blocks,
                   size_t shared_bytes, const void* args,
                   size_t) noexcept override {
    device_->Use();
    if (blocks > kMostBlocks) {
      // As 32 bits these would be fewer.
      (void)Check(cudaErrorInvalidConfiguration);
      return;
    }
    void* pointers[] = {const_cast<void*>(args)};
    // Behind a launch of ours this one may begin before that has ended
    // (programmatic dependent launch): all our kernels wait for it themselves.
    // What a driver makes of that behind events, copies and libraries' work is
    // not written anywhere, so there it is not asked for.
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream_;
    config.attrs = &overlap;
    config.numAttrs = behind_launch_ && device_->overlaps() ? 1 : 0;
    behind_launch_ =
        Check(cudaLaunchKernelExC(&config, KernelFunction(kernel), pointers))
            .ok();
  }

 private:
  Status Check(cudaError_t error) {
    if (error == cudaSuccess) return OkStatus();
    const Status status = device_->Explained(error, "it ran our launches");
    Record(status);
    return status;
  }
  // What waits for a GPU that is lost never ends, and neither would a wait of
  // the runtime's: looks after the others now and then.
  template <typename Query>
  Status WaitWithPeers(Query&& query) noexcept {
    if (peers_ == nullptr) return OkStatus();
    using Clock = std::chrono::steady_clock;
    constexpr auto kBetween = std::chrono::milliseconds(1);
    Clock::time_point next = Clock::now() + kBetween;
    for (cudaError_t error = query(); error != cudaSuccess; error = query()) {
      if (error != cudaErrorNotReady) return Check(error);
      (void)cudaGetLastError();
      if (Clock::now() < next) continue;
      if (!peers_->AreThere()) return device_->status();
      device_->Use();
      next = Clock::now() + kBetween;
    }
    return OkStatus();
  }
  // Nothing is lost by a capture that fails, unless something was before: then
  // whatever is asked next says so.
  Status NotCaptured(cudaError_t error) {
    (void)cudaGetLastError();
    LCSM_RETURN_IF_ERROR(Check(cudaStreamSynchronize(stream_)));
    return Unsupported(fmt::format("{} did not capture launches: {}",
                                   device_->info().label,
                                   cudaGetErrorString(error)));
  }
  void CopyKind(void* to, const void* from, size_t bytes,
                cudaMemcpyKind kind) noexcept {
    device_->Use();
    if (bytes != 0) {
      (void)Check(cudaMemcpyAsync(to, from, bytes, kind, stream()));
    }
  }

  const std::shared_ptr<CudaDevice> device_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t here_ = nullptr, mark_ = nullptr;
  const CublasFunctions* functions_ = nullptr;
  cublasHandle_t cublas_ = nullptr;
  Memory gemm_work_;
#ifdef LCSM_CUDNN
  const CudnnFunctions* cudnn_functions_ = nullptr;
  cudnnHandle_t cudnn_ = nullptr;
#endif
  std::shared_ptr<CudaPeers> peers_;
  bool capturing_ = false, trying_ = false;
  // Whether what was enqueued last is a launch of ours.
  bool behind_launch_ = false;
  Status captured_;  // What launches met that were captured, or tried.
};

}  // namespace lcsm::cuda
