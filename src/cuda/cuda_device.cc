// A GPU behind device.h. All calls of the CUDA runtime are here and all their
// errors become sentences in Explain.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "cuda/cuda_kernels.h"
#include "cuda/cuda_libraries.h"
#include "cuda/device.h"

namespace lcsm::cuda {
namespace {

std::string VersionName(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

// One sentence for whatever a call said.
Status Explain(cudaError_t error, const std::string& who, const char* doing) {
  switch (error) {
    case cudaSuccess:
      return OkStatus();
    case cudaErrorNoDevice:
      return Unsupported("no CUDA device was found on this machine");
    case cudaErrorInsufficientDriver: {
      int driver = 0;
      (void)cudaDriverGetVersion(&driver);
      if (driver == 0) {
        return Unsupported(
            "no NVIDIA driver was found on this machine, which CUDA devices "
            "need");
      }
      return Unsupported(fmt::format(
          "the NVIDIA driver is for CUDA {}, and this build wants one for {} "
          "or later",
          VersionName(driver), VersionName(CUDART_VERSION)));
    }
    case cudaErrorNoKernelImageForDevice:
      return Unsupported(fmt::format(
          "{} is of a kind that this build holds no code for", who));
    case cudaErrorMemoryAllocation:
      return ResourceExhausted(
          fmt::format("{} had too little memory while {}", who, doing));
    default:
      return InternalError(fmt::format(
          "{} failed while {}: {} ({}); what was on it is lost", who, doing,
          cudaGetErrorString(error), cudaGetErrorName(error)));
  }
}

class CudaDevice final : public Device {
 public:
  static StatusOr<std::shared_ptr<Device>> Open(int index);
  ~CudaDevice() override {
    Use();
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
  cudaStream_t copies_ = nullptr;
  std::mutex copy_mutex_;
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
  cudaStream_t stream() const { return stream_; }

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
    if (bytes != 0) (void)Check(cudaMemsetAsync(at, 0, bytes, stream_));
  }
  void Gemm(const GemmWork& work) noexcept override;
  void WaitFor(Queue& other) noexcept override {
    auto& from = static_cast<CudaQueue&>(other);
    device_->Use();
    (void)Check(cudaEventRecord(from.here_, from.stream_));
    (void)Check(cudaStreamWaitEvent(stream_, from.here_, 0));
  }
  void BeginCapture() noexcept override {
    device_->Use();
    // Other threads may go on allocating meanwhile.
    (void)Check(
        cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  }
  StatusOr<std::unique_ptr<Graph>> EndCapture() override {
    device_->Use();
    cudaGraph_t graph = nullptr;
    LCSM_RETURN_IF_ERROR(Check(cudaStreamEndCapture(stream_, &graph)));
    cudaGraphExec_t exec = nullptr;
    const cudaError_t made = cudaGraphInstantiate(&exec, graph, 0);
    (void)cudaGraphDestroy(graph);
    // Too little memory for it is nothing that what runs has to suffer from.
    LCSM_RETURN_IF_ERROR(device_->Explained(made, "it captured a step"));
    return std::unique_ptr<Graph>(std::make_unique<CudaGraph>(device_, exec));
  }
  void Replay(const Graph& graph) noexcept override {
    device_->Use();
    (void)Check(
        cudaGraphLaunch(static_cast<const CudaGraph&>(graph).exec(), stream_));
  }
  Status Wait() noexcept override {
    device_->Use();
    LCSM_RETURN_IF_ERROR(Check(cudaStreamSynchronize(stream_)));
    return device_->status();
  }
  void Mark() noexcept override {
    device_->Use();
    (void)Check(cudaEventRecord(mark_, stream_));
  }
  Status WaitForMark() noexcept override {
    device_->Use();
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
    (void)Check(cudaLaunchKernel(
        KernelFunction(kernel), dim3(static_cast<unsigned>(blocks)),
        dim3(static_cast<unsigned>(threads)), pointers, shared_bytes, stream_));
  }

 private:
  Status Check(cudaError_t error) {
    return device_->Check(error, "it ran our launches");
  }
  void CopyKind(void* to, const void* from, size_t bytes,
                cudaMemcpyKind kind) noexcept {
    device_->Use();
    if (bytes != 0) {
      (void)Check(cudaMemcpyAsync(to, from, bytes, kind, stream_));
    }
  }

  const std::shared_ptr<CudaDevice> device_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t here_ = nullptr, mark_ = nullptr;
  const CublasFunctions* functions_ = nullptr;
  cublasHandle_t cublas_ = nullptr;
};

void CudaQueue::Gemm(const GemmWork& work) noexcept {
  device_->Use();
  const auto failed = [this](int code) {
    (void)device_->Record(InternalError(
        fmt::format("cuBLAS on {} failed with code {}; what was on it is lost",
                    device_->info().label, code)));
  };
  if (cublas_ == nullptr) {
    const StatusOr<const CublasFunctions*> functions = LoadCublas();
    if (!functions.ok()) {
      (void)device_->Record(functions.status());
      return;
    }
    functions_ = *functions;
    if (const auto code = functions_->create(&cublas_);
        code != CUBLAS_STATUS_SUCCESS) {
      return failed(code);
    }
    if (const auto code = functions_->set_stream(cublas_, stream_);
        code != CUBLAS_STATUS_SUCCESS) {
      return failed(code);
    }
  }
  // cuBLAS has columns first, so this is c^T = b a^T.
  const float one = 1, beta = work.accumulate ? 1.0f : 0.0f;
  const auto code = functions_->sgemm(
      cublas_, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(work.n),
      static_cast<int>(work.m), static_cast<int>(work.k), &one, work.b,
      static_cast<int>(work.k), work.a, static_cast<int>(work.a_stride), &beta,
      work.c, static_cast<int>(work.c_stride));
  if (code != CUBLAS_STATUS_SUCCESS) failed(code);
}

class CudaFft final : public BatchedFft {
 public:
  explicit CudaFft(std::shared_ptr<CudaDevice> device)
      : device_(std::move(device)) {}
  ~CudaFft() override {
    device_->Use();
    if (made_ > 0) (void)functions_->destroy(forward_);
    if (made_ > 1) (void)functions_->destroy(inverse_);
  }

  Status Make(size_t length, size_t batch) {
    LCSM_ASSIGN_OR_RETURN(functions_, LoadCufft());
    device_->Use();
    int n = static_cast<int>(length);
    const int points = n / 2 + 1, many = static_cast<int>(batch);
    cufftResult result = functions_->plan_many(
        &forward_, 1, &n, nullptr, 1, n, nullptr, 1, points, CUFFT_R2C, many);
    if (result == CUFFT_SUCCESS) {
      ++made_;
      result = functions_->plan_many(&inverse_, 1, &n, nullptr, 1, points,
                                     nullptr, 1, n, CUFFT_C2R, many);
    }
    if (result == CUFFT_SUCCESS) {
      ++made_;
      return OkStatus();
    }
    return ResourceExhausted(fmt::format(
        "cuFFT on {} refused {} transforms of length {} with code {}",
        device_->info().label, batch, length, static_cast<int>(result)));
  }
  void Forward(Queue& queue, float* time, Complex* spectrum) noexcept override {
    Run(queue, forward_, [&] {
      return functions_->forward(forward_, time,
                                 reinterpret_cast<cufftComplex*>(spectrum));
    });
  }
  void Inverse(Queue& queue, Complex* spectrum, float* time) noexcept override {
    Run(queue, inverse_, [&] {
      return functions_->inverse(
          inverse_, reinterpret_cast<cufftComplex*>(spectrum), time);
    });
  }

 private:
  template <typename Body>
  void Run(Queue& queue, cufftHandle plan, Body&& body) noexcept {
    device_->Use();
    cufftResult result =
        functions_->set_stream(plan, static_cast<CudaQueue&>(queue).stream());
    if (result == CUFFT_SUCCESS) result = body();
    if (result != CUFFT_SUCCESS) {
      (void)device_->Record(InternalError(
          fmt::format("cuFFT on {} failed with code {}; what was on it is lost",
                      device_->info().label, static_cast<int>(result))));
    }
  }

  const std::shared_ptr<CudaDevice> device_;
  const CufftFunctions* functions_ = nullptr;
  cufftHandle forward_ = 0, inverse_ = 0;
  int made_ = 0;
};

#ifdef LCSM_CUDNN
class CudaDepthwise final : public DepthwiseConvolution {
 public:
  explicit CudaDepthwise(std::shared_ptr<CudaDevice> device)
      : device_(std::move(device)) {}
  ~CudaDepthwise() override {
    device_->Use();
    if (convolution_ != nullptr) {
      (void)functions_->destroy_convolution(convolution_);
    }
    if (filter_ != nullptr) (void)functions_->destroy_filter(filter_);
    if (tensor_ != nullptr) (void)functions_->destroy_tensor(tensor_);
    if (handle_ != nullptr) (void)functions_->destroy(handle_);
  }

  Status Make(size_t channels, size_t length) {
    LCSM_ASSIGN_OR_RETURN(functions_, LoadCudnn());
    device_->Use();
    const CudnnFunctions& f = *functions_;
    const int c = static_cast<int>(channels), n = static_cast<int>(length);
    size_t bytes = 0;
    // Zeros on both sides make as many outputs as inputs; CUDNN_CONVOLUTION
    // turns the filter round, as the definition does. No tensor cores: they
    // would round the inputs.
    const bool made =
        Ok(f.create(&handle_)) && Ok(f.create_tensor(&tensor_)) &&
        Ok(f.set_tensor(tensor_, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, c, 1,
                        n)) &&
        Ok(f.create_filter(&filter_)) &&
        Ok(f.set_filter(filter_, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, c, 1, 1,
                        2 * n - 1)) &&
        Ok(f.create_convolution(&convolution_)) &&
        Ok(f.set_convolution(convolution_, 0, n - 1, 1, 1, 1, 1,
                             CUDNN_CONVOLUTION, CUDNN_DATA_FLOAT)) &&
        Ok(f.set_groups(convolution_, c)) &&
        Ok(f.set_math(convolution_, CUDNN_FMA_MATH)) &&
        Ok(f.workspace(handle_, tensor_, filter_, convolution_, tensor_,
                       kAlgorithm, &bytes));
    if (!made) {
      return Unsupported(fmt::format(
          "cuDNN on {} refused a convolution of {} channels and {} positions "
          "with code {}",
          device_->info().label, channels, length, code_));
    }
    LCSM_ASSIGN_OR_RETURN(workspace_,
                          device_->Allocate(bytes, "cuDNN's scratch memory"));
    return OkStatus();
  }
  void Run(Queue& queue, const float* x, const float* w,
           float* y) noexcept override {
    device_->Use();
    const float one = 1, zero = 0;
    const bool done =
        Ok(functions_->set_stream(handle_,
                                  static_cast<CudaQueue&>(queue).stream())) &&
        Ok(functions_->forward(handle_, &one, tensor_, x, filter_, w,
                               convolution_, kAlgorithm, workspace_.data(),
                               workspace_.bytes(), &zero, tensor_, y));
    if (!done) {
      (void)device_->Record(InternalError(
          fmt::format("cuDNN on {} failed with code {}; what was on it is lost",
                      device_->info().label, code_)));
    }
  }

 private:
  static constexpr auto kAlgorithm = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM;

  bool Ok(cudnnStatus_t status) {
    code_ = static_cast<int>(status);
    return status == CUDNN_STATUS_SUCCESS;
  }

  const std::shared_ptr<CudaDevice> device_;
  const CudnnFunctions* functions_ = nullptr;
  cudnnHandle_t handle_ = nullptr;
  cudnnTensorDescriptor_t tensor_ = nullptr;  // Of inputs and outputs.
  cudnnFilterDescriptor_t filter_ = nullptr;
  cudnnConvolutionDescriptor_t convolution_ = nullptr;
  Memory workspace_;
  int code_ = 0;
};
#endif

StatusOr<std::unique_ptr<DepthwiseConvolution>> CudaDevice::NewDepthwise(
    size_t channels, size_t length) {
#ifdef LCSM_CUDNN
  auto made = std::make_unique<CudaDepthwise>(
      std::static_pointer_cast<CudaDevice>(shared_from_this()));
  LCSM_RETURN_IF_ERROR(made->Make(channels, length));
  return std::unique_ptr<DepthwiseConvolution>(std::move(made));
#else
  return Unsupported("this build was made without cuDNN");
#endif
}

StatusOr<std::unique_ptr<Queue>> CudaDevice::NewQueue(bool background) {
  auto queue = std::make_unique<CudaQueue>(
      std::static_pointer_cast<CudaDevice>(shared_from_this()));
  LCSM_RETURN_IF_ERROR(queue->Make(background));
  return std::unique_ptr<Queue>(std::move(queue));
}

StatusOr<std::unique_ptr<BatchedFft>> CudaDevice::NewBatchedFft(size_t length,
                                                                size_t batch) {
  auto fft = std::make_unique<CudaFft>(
      std::static_pointer_cast<CudaDevice>(shared_from_this()));
  LCSM_RETURN_IF_ERROR(fft->Make(length, batch));
  return std::unique_ptr<BatchedFft>(std::move(fft));
}

StatusOr<std::shared_ptr<Device>> CudaDevice::Open(int index) {
  const std::string label = fmt::format("cuda:{}", index);
  int count = 0;
  LCSM_RETURN_IF_ERROR(
      Explain(cudaGetDeviceCount(&count), label, "devices were counted"));
  if (index >= count) {
    return NotFound(fmt::format(
        "there is no {}: this machine has {} CUDA device{}, numbered from 0",
        label, count, count == 1 ? "" : "s"));
  }
  std::shared_ptr<CudaDevice> device(new CudaDevice(index));
  DeviceInfo& info = device->info_;
  info.label = label;
  cudaDeviceProp properties;
  LCSM_RETURN_IF_ERROR(Explain(cudaGetDeviceProperties(&properties, index),
                               label, "it was asked what it is"));
  info.name = properties.name;
  info.major = properties.major;
  info.minor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.memory_bytes = properties.totalGlobalMem;
  info.shared_bytes = properties.sharedMemPerBlockOptin;
  info.l2_bytes = static_cast<size_t>(properties.l2CacheSize);
  const std::string who = fmt::format("{} ({})", label, info.name);
  LCSM_RETURN_IF_ERROR(Explain(cudaSetDevice(index), who, "it was opened"));
  LCSM_RETURN_IF_ERROR(Explain(
      cudaStreamCreateWithFlags(&device->copies_, cudaStreamNonBlocking), who,
      "it was opened"));
  for (size_t kernel = 0; kernel < AllKernels::kCount; ++kernel) {
    LCSM_RETURN_IF_ERROR(Explain(
        cudaFuncSetAttribute(KernelFunction(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(info.shared_bytes)),
        fmt::format("{} of compute capability {}.{}", who, info.major,
                    info.minor),
        "its kernels were loaded"));
  }
  return std::shared_ptr<Device>(std::move(device));
}

}  // namespace

StatusOr<std::shared_ptr<Device>> OpenCudaDevice(int index) {
  return CudaDevice::Open(index);
}

int CudaDeviceCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();
  return 0;
}

}  // namespace lcsm::cuda
