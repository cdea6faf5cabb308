// Entry points of all kernels. The arithmetic is in the *_kernels.h, which the
// CPU's compiler sees as well; nothing but the loop over phases is here.
#include "cuda/cuda_kernels.h"
#include "cuda/kernel_list.h"

namespace lcsm::cuda {
namespace {

// Launches may begin before the one in front of them has ended
// (CudaQueue::LaunchBytes), so each waits here until it has, whatever it does
// afterwards. Only then is the next let in, if the kernel says so: one launch
// stands by, and leaves room for those of other queues. Without overlap neither
// does anything.
template <typename Kernel>
__device__ __forceinline__ void WaitForLaunchInFront() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
  if constexpr (requires { Kernel::kLetsNextIn; }) {
    cudaTriggerProgrammaticLaunchCompletion();
  }
#endif
}

// Blocks that a multiprocessor has registers for. Without a number the compiler
// takes one of its own, and was seen to spill what is fetched for it.
template <typename Kernel>
constexpr int BlocksAtLeast() {
  if constexpr (requires { Kernel::kBlocksAtLeast; }) {
    return Kernel::kBlocksAtLeast;
  } else {
    return 1;
  }
}

template <typename Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, BlocksAtLeast<Kernel>())
    RunKernel(const __grid_constant__ typename Kernel::Args args) {
  extern __shared__ __align__(16) double shared[];
  typename Kernel::Thread state;
  if constexpr (Fetches<Kernel>) {
    Kernel::Fetch(args, blockIdx.x, static_cast<int>(threadIdx.x), state);
  }
  WaitForLaunchInFront<Kernel>();
  const auto run = [&](int phase, bool first) {
    if (!first) __syncthreads();
    Kernel::Run(phase, args, blockIdx.x, static_cast<int>(threadIdx.x), state,
                reinterpret_cast<float*>(shared));
  };
  if constexpr (HasFixedPhases<Kernel>) {
    const int first = Kernel::FirstPhase(args);
    LCSM_UNROLL
    for (int phase = 0; phase < Kernel::kPhases; ++phase) {
      if (phase >= first) run(phase, phase == first);
    }
  } else {
    const int phases = Kernel::Phases(args, blockIdx.x);
    for (int phase = 0; phase < phases; ++phase) run(phase, phase == 0);
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
