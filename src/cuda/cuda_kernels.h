// The one thing that only nvcc can make: the kernels' entry points.
#pragma once

#include <cstddef>

namespace lcsm::cuda {

// For cudaLaunchKernel; `kernel` is a number of AllKernels.
const void* KernelFunction(size_t kernel);

}  // namespace lcsm::cuda
