#include "cuda/emulated_kernels.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "cuda/kernel_list.h"

namespace lcsm::cuda {
namespace {

template <typename Kernel>
Fetched FetchKernel(uint64_t blocks, const void* args_bytes) {
  constexpr auto kThreads = static_cast<size_t>(Kernel::kThreads);
  const auto& args = *static_cast<const typename Kernel::Args*>(args_bytes);
  auto all =
      std::make_shared<std::vector<typename Kernel::Thread>>(blocks * kThreads);
  for (size_t k = 0; k < all->size(); ++k) {
    Kernel::Fetch(args, static_cast<uint32_t>(k / kThreads),
                  static_cast<int>(k % kThreads), (*all)[k]);
  }
  return all;
}

template <typename Kernel>
void RunKernel(uint64_t blocks, size_t shared_bytes, const void* args_bytes,
               size_t turn, const Fetched& fetched) {
  using Args = typename Kernel::Args;
  using Thread = typename Kernel::Thread;
  const Args& args = *static_cast<const Args*>(args_bytes);
  // In doubles: some kernels keep such there.
  std::vector<double> shared(shared_bytes / sizeof(double) + 1);
  constexpr auto kThreads = static_cast<size_t>(Kernel::kThreads);
  std::vector<Thread> threads(kThreads);
  for (uint64_t k = 0; k < blocks; ++k) {
    std::fill(shared.begin(), shared.end(),
              std::numeric_limits<double>::quiet_NaN());
    // Another order of blocks as well.
    const auto block =
        static_cast<uint32_t>(turn % 2 == 0 ? k : blocks - 1 - k);
    if (fetched == nullptr) {
      std::fill(threads.begin(), threads.end(), Thread());
    } else {
      const auto& all = *static_cast<const std::vector<Thread>*>(fetched.get());
      std::copy_n(all.data() + block * kThreads, kThreads, threads.data());
    }
    int phase = 0, phases = 0;
    if constexpr (HasFixedPhases<Kernel>) {
      phase = Kernel::FirstPhase(args);
      phases = Kernel::kPhases;
    } else {
      phases = Kernel::Phases(args, block);
    }
    for (; phase < phases; ++phase) {
      for (size_t t = 0; t < kThreads; ++t) {
        // 77 has no factor in common with the numbers of threads.
        const size_t thread =
            turn % 3 == 0 ? t
                          : (turn % 3 == 1 ? kThreads - 1 - t
                                           : (t * 77 + turn) % kThreads);
        Kernel::Run(phase, args, block, static_cast<int>(thread),
                    threads[thread], reinterpret_cast<float*>(shared.data()));
      }
    }
  }
}

template <typename Kernel>
constexpr EmulatedKernel Make() {
  EmulatedKernel made = {RunKernel<Kernel>};
  if constexpr (Fetches<Kernel>) made.fetch = FetchKernel<Kernel>;
  return made;
}

template <typename... Kernels>
EmulatedKernel Find(size_t kernel, KernelList<Kernels...>) {
  constexpr EmulatedKernel kKernels[] = {Make<Kernels>()...};
  return kKernels[kernel];
}

}  // namespace

EmulatedKernel EmulatedKernelOf(size_t kernel) {
  return Find(kernel, AllKernels());
}

}  // namespace lcsm::cuda
