// In place of cuda_device.cc where this is built without CUDA.
#include "cuda/device.h"

namespace lcsm::cuda {

StatusOr<std::shared_ptr<Device>> OpenCudaDevice(int, const CudaOptions&) {
  return Unsupported(
      "this build has no CUDA: it was made where nvcc was not found, or with "
      "-DLCSM_CUDA=OFF");
}

int CudaDeviceCount() { return 0; }

}  // namespace lcsm::cuda
