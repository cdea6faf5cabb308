#include "cuda/cuda_device.h"

#include <algorithm>

namespace lcsm::cuda {
namespace {

std::string VersionName(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

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
    case cudaErrorInvalidDeviceFunction:
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

StatusOr<std::unique_ptr<Queue>> CudaDevice::NewQueue(bool background) {
  auto queue = std::make_unique<CudaQueue>(
      std::static_pointer_cast<CudaDevice>(shared_from_this()));
  LCSM_RETURN_IF_ERROR(queue->Make(background));
  return std::unique_ptr<Queue>(std::move(queue));
}

// The wait is compiled away for capabilities below 9.0 (cuda_kernels.cu), also
// where the driver makes newer code of such PTX; a launch that neither waits
// nor is waited for would read what is not there yet. Some drivers were seen to
// refuse such launches in captures (sgl-project/sglang, pull request 18596), so
// this one is asked.
bool CudaDevice::MayOverlap() {
  for (size_t kernel = 0; kernel < AllKernels::kCount; ++kernel) {
    cudaFuncAttributes attributes;
    if (cudaFuncGetAttributes(&attributes, KernelFunction(kernel)) !=
        cudaSuccess) {
      (void)cudaGetLastError();
      return false;
    }
    if (attributes.ptxVersion < 90) return false;
  }
  auto queue = NewQueue(false);
  auto control = NewZeros<StepControl>(1, "a step's position");
  if (!queue.ok() || !control.ok() || !(*queue)->BeginCapture().ok()) {
    return false;
  }
  overlaps_ = true;
  (*queue)->Launch<CountKernel>({control->data()});
  (*queue)->Launch<CountKernel>({control->data()});
  overlaps_ = false;
  return (*queue)->EndCapture().ok();
}

StatusOr<std::shared_ptr<Device>> CudaDevice::Open(int index,
                                                   const CudaOptions& options) {
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
  int driver = 0, runtime = 0;
  LCSM_RETURN_IF_ERROR(Explain(cudaDriverGetVersion(&driver), label,
                               "its driver was asked for its version"));
  LCSM_RETURN_IF_ERROR(Explain(cudaRuntimeGetVersion(&runtime), label,
                               "the runtime was asked for its version"));
  info.software = fmt::format("driver {}, runtime {}", VersionName(driver),
                              VersionName(runtime));
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
  if (options.overlap && info.major >= 9) {
    device->overlaps_ = device->MayOverlap();
  }
  info.shared_bytes = std::min(info.shared_bytes, options.shared_bytes);
  info.l2_bytes = std::min(info.l2_bytes, options.l2_bytes);
  return std::shared_ptr<Device>(std::move(device));
}

StatusOr<std::shared_ptr<Device>> OpenCudaDevice(int index,
                                                 const CudaOptions& options) {
  return CudaDevice::Open(index, options);
}

int CudaDeviceCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();
  return 0;
}

}  // namespace lcsm::cuda
