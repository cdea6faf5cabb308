// All kernels, numbered: what device.h launches by number, and what the CUDA
// build and the emulator make their tables of.
#pragma once

#include <cstddef>
#include <type_traits>

#include "cuda/block_kernels.h"
#include "cuda/direct_kernels.h"
#include "cuda/fft_kernels.h"
#include "cuda/filter_kernels.h"
#include "cuda/library_kernels.h"
#include "cuda/linear_kernel.h"
#include "cuda/prefill_kernels.h"
#include "cuda/sampler_kernels.h"
#include "cuda/stack_kernels.h"

namespace lcsm::cuda {

template <typename... Kernels>
struct KernelList {
  static constexpr size_t kCount = sizeof...(Kernels);

  template <typename Kernel>
  static constexpr size_t IdOf() {
    constexpr bool kIs[] = {std::is_same_v<Kernel, Kernels>...};
    for (size_t id = 0; id < kCount; ++id) {
      if (kIs[id]) return id;
    }
    return kCount;
  }
};

using AllKernels = KernelList<
    FftTileKernel, FftPassKernel, DirectTileKernel, GatherKernel, ScatterKernel,
    AddDeferredKernel, DrainKernel, CountKernel, RedCellsKernel, EmbedKernel,
    LinearKernel<float, 1>, LinearKernel<float, 8>, LinearKernel<Bfloat16, 1>,
    LinearKernel<Bfloat16, 8>, SampleKernel, PackKernel, SpectrumProductKernel,
    UnpackKernel, NormRowsKernel, FirRowsKernel, GateKernel, FinishRowsKernel,
    WidenKernel, MoveLinesKernel, SpreadTapsKernel, FilterPositionsKernel,
    FilterLinearKernel, FilterNormKernel, FilterTapsKernel, StackCellsKernel,
    StackDownKernel<float, 1>, StackDownKernel<float, 8>>;

}  // namespace lcsm::cuda
