// Calls of cuBLAS, cuFFT and cuDNN. Their scratch memory is ours: set aside
// before the first call and counted, so that no call allocates.
#include <algorithm>

#include "cuda/cuda_device.h"

namespace lcsm::cuda {

void CudaQueue::RecordLibrary(const char* library, int code) {
  if (trying_) {
    return Record(
        Unsupported(fmt::format("{} on {} refused with code {}", library,
                                device_->info().label, code)));
  }
  Record(InternalError(
      fmt::format("{} on {} failed with code {}; what was on it is lost",
                  library, device_->info().label, code)));
}

Status CudaQueue::PrepareGemm() {
  if (gemm_work_.bytes() != 0) return OkStatus();
  LCSM_ASSIGN_OR_RETURN(functions_, LoadCublas());
  device_->Use();
  LCSM_ASSIGN_OR_RETURN(
      Memory work,
      device_->Allocate(device_->GemmWorkBytes(), "cuBLAS's scratch memory"));
  // In this order: choosing a stream takes the scratch memory back.
  auto code =
      cublas_ == nullptr ? functions_->create(&cublas_) : CUBLAS_STATUS_SUCCESS;
  if (code == CUBLAS_STATUS_SUCCESS) {
    code = functions_->set_stream(cublas_, stream_);
  }
  if (code == CUBLAS_STATUS_SUCCESS) {
    code = functions_->set_workspace(cublas_, work.data(), work.bytes());
  }
  if (code != CUBLAS_STATUS_SUCCESS) {
    return ResourceExhausted(
        fmt::format("cuBLAS on {} could not be prepared and gave code {}",
                    device_->info().label, static_cast<int>(code)));
  }
  gemm_work_ = std::move(work);
  return OkStatus();
}

void CudaQueue::Gemm(const GemmWork& work) noexcept {
  device_->Use();
  // Not by stream(): the handle has it, and choosing it anew takes the scratch
  // memory back.
  behind_launch_ = false;
  // cuBLAS has columns first, so this is c^T = b a^T.
  const float one = 1, beta = work.accumulate ? 1.0f : 0.0f;
  const auto code = functions_->sgemm(
      cublas_, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(work.n),
      static_cast<int>(work.m), static_cast<int>(work.k), &one, work.b,
      static_cast<int>(work.k), work.a, static_cast<int>(work.a_stride), &beta,
      work.c, static_cast<int>(work.c_stride));
  if (code != CUBLAS_STATUS_SUCCESS) RecordLibrary("cuBLAS", code);
}

#ifdef LCSM_CUDNN
cudnnStatus_t CudaQueue::Cudnn(const CudnnFunctions& functions,
                               cudnnHandle_t* handle) {
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
  if (cudnn_ == nullptr) {
    cudnn_functions_ = &functions;
    status = functions.create(&cudnn_);
    if (status == CUDNN_STATUS_SUCCESS) {
      status = functions.set_stream(cudnn_, stream_);
    }
    if (status != CUDNN_STATUS_SUCCESS && cudnn_ != nullptr) {
      (void)functions.destroy(std::exchange(cudnn_, nullptr));
    }
  }
  behind_launch_ = false;  // Behind this comes a library's work.
  *handle = cudnn_;
  return status;
}
#endif

namespace {

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
    const auto n = static_cast<long long>(length);
    const long long points = n / 2 + 1, many = static_cast<long long>(batch);
    cufftResult result = MakePlan(&forward_, n, n, points, CUFFT_R2C, many);
    if (result == CUFFT_SUCCESS) {
      result = MakePlan(&inverse_, n, points, n, CUFFT_C2R, many);
    }
    if (result == CUFFT_SUCCESS) return OkStatus();
    return ResourceExhausted(fmt::format(
        "cuFFT on {} refused {} transforms of length {} with code {}",
        device_->info().label, batch, length, static_cast<int>(result)));
  }
  size_t work_bytes() const override { return work_bytes_; }
  // Also where none is wanted: a plan that may not allocate is told.
  Status UseWork(void* work) override {
    device_->Use();
    cufftResult result = functions_->set_work_area(forward_, work);
    if (result == CUFFT_SUCCESS) {
      result = functions_->set_work_area(inverse_, work);
    }
    if (result == CUFFT_SUCCESS) return OkStatus();
    return InternalError(fmt::format(
        "cuFFT on {} refused {} bytes of scratch memory with code {}",
        device_->info().label, work_bytes_, static_cast<int>(result)));
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
  // 64-bit sizes: histories times positions exceed 32 bits.
  cufftResult MakePlan(cufftHandle* plan, long long n, long long in,
                       long long out, cufftType type, long long many) {
    cufftResult result = functions_->create(plan);
    if (result != CUFFT_SUCCESS) return result;
    ++made_;
    // Scratch memory is ours to set aside, and counted.
    result = functions_->set_auto_allocation(*plan, 0);
    if (result != CUFFT_SUCCESS) return result;
    size_t bytes = 0;
    result = functions_->make_plan_many(*plan, 1, &n, nullptr, 1, in, nullptr,
                                        1, out, type, many, &bytes);
    work_bytes_ = std::max(work_bytes_, bytes);
    return result;
  }
  template <typename Body>
  void Run(Queue& queue, cufftHandle plan, Body&& body) noexcept {
    device_->Use();
    auto& on = static_cast<CudaQueue&>(queue);
    cufftResult result = functions_->set_stream(plan, on.stream());
    if (result == CUFFT_SUCCESS) result = body();
    if (result != CUFFT_SUCCESS) on.RecordLibrary("cuFFT", result);
  }

  const std::shared_ptr<CudaDevice> device_;
  const CufftFunctions* functions_ = nullptr;
  cufftHandle forward_ = 0, inverse_ = 0;
  int made_ = 0;
  size_t work_bytes_ = 0;
};

#ifdef LCSM_CUDNN
// More groups than a grid's second and third dimension have blocks: what cuDNN
// does beyond is not written down.
constexpr size_t kMostGroups = 65535;

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
  }

  Status Make(size_t channels, size_t length) {
    LCSM_ASSIGN_OR_RETURN(functions_, LoadCudnn());
    device_->Use();
    const CudnnFunctions& f = *functions_;
    if (channels > kMostGroups) {
      return Unsupported(
          fmt::format("cuDNN on {} is not asked for convolutions of more than "
                      "{} channels, and these are {}",
                      device_->info().label, kMostGroups, channels));
    }
    const int c = static_cast<int>(channels), n = static_cast<int>(length);
    // Zeros on both sides make as many outputs as inputs; CUDNN_CONVOLUTION
    // turns the filter round, as the definition does. No tensor cores: they
    // would round the inputs.
    const bool made =
        Ok(f.create_tensor(&tensor_)) &&
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
        Ok(device_->AskCudnn(f, [&](cudnnHandle_t handle) {
          return f.workspace(handle, tensor_, filter_, convolution_, tensor_,
                             kAlgorithm, &work_bytes_);
        }));
    if (!made) {
      return Unsupported(fmt::format(
          "cuDNN on {} refused a convolution of {} channels and {} positions "
          "with code {}",
          device_->info().label, channels, length, code_));
    }
    return OkStatus();
  }
  size_t work_bytes() const override { return work_bytes_; }
  Status UseWork(void* work) override {
    work_ = work;
    return OkStatus();
  }
  void Run(Queue& queue, const float* x, const float* w,
           float* y) noexcept override {
    device_->Use();
    const float one = 1, zero = 0;
    auto& on = static_cast<CudaQueue&>(queue);
    cudnnHandle_t handle = nullptr;
    const bool done = Ok(on.Cudnn(*functions_, &handle)) &&
                      Ok(functions_->forward(handle, &one, tensor_, x, filter_,
                                             w, convolution_, kAlgorithm, work_,
                                             work_bytes_, &zero, tensor_, y));
    if (!done) on.RecordLibrary("cuDNN", code_);
  }

 private:
  static constexpr auto kAlgorithm = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM;

  bool Ok(cudnnStatus_t status) {
    code_ = static_cast<int>(status);
    return status == CUDNN_STATUS_SUCCESS;
  }

  const std::shared_ptr<CudaDevice> device_;
  const CudnnFunctions* functions_ = nullptr;
  cudnnTensorDescriptor_t tensor_ = nullptr;  // Of inputs and outputs.
  cudnnFilterDescriptor_t filter_ = nullptr;
  cudnnConvolutionDescriptor_t convolution_ = nullptr;
  void* work_ = nullptr;
  size_t work_bytes_ = 0;
  int code_ = 0;
};
#endif

}  // namespace

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

StatusOr<std::unique_ptr<BatchedFft>> CudaDevice::NewBatchedFft(size_t length,
                                                                size_t batch) {
  auto fft = std::make_unique<CudaFft>(
      std::static_pointer_cast<CudaDevice>(shared_from_this()));
  LCSM_RETURN_IF_ERROR(fft->Make(length, batch));
  return std::unique_ptr<BatchedFft>(std::move(fft));
}

}  // namespace lcsm::cuda
