// Kernels as the emulated device runs them: blocks by one CPU thread, phase
// after phase, thread after thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace lcsm::cuda {

// What all threads of a launch keep when they have fetched.
using Fetched = std::shared_ptr<void>;

struct EmulatedKernel {
  // Runs a launch. `turn` chooses the order of threads and blocks; shared
  // memory begins as NaN. Null `fetched`: threads begin with nothing.
  void (*run)(uint64_t blocks, size_t shared_bytes, const void* args,
              size_t turn, const Fetched& fetched) = nullptr;
  // Null: the kernel has nothing to fetch.
  Fetched (*fetch)(uint64_t blocks, const void* args) = nullptr;
};

// `kernel` is a number of AllKernels.
EmulatedKernel EmulatedKernelOf(size_t kernel);

}  // namespace lcsm::cuda
