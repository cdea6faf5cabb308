// Entry points of all kernels. The arithmetic is in the *_kernels.h, which the
// CPU's compiler sees as well; nothing but the loop over phases is here.
#include "cuda/cuda_kernels.h"
#include "cuda/kernel_list.h"

namespace lcsm::cuda {
namespace {

template <typename Kernel>
__global__ void __launch_bounds__(Kernel::kThreads)
    RunKernel(const __grid_constant__ typename Kernel::Args args) {
  extern __shared__ __align__(16) double shared[];
  typename Kernel::Thread state;
  const int phases = Kernel::Phases(args, blockIdx.x);
  for (int phase = 0; phase < phases; ++phase) {
    if (phase != 0) __syncthreads();
    Kernel::Run(phase, args, blockIdx.x, static_cast<int>(threadIdx.x), state,
                reinterpret_cast<float*>(shared));
  }
}

template <typename... Kernels>
const void* FunctionOf(size_t kernel, KernelList<Kernels...>) {
  const void* const functions[] = {
      reinterpret_cast<const void*>(&RunKernel<Kernels>)...};
  return functions[kernel];
}

}  // namespace

const void* KernelFunction(size_t kernel) {
  return FunctionOf(kernel, AllKernels());
}

}  // namespace lcsm::cuda
