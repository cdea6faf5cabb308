// How a transform is cut into launches: passes in device memory for what does
// not fit into shared memory, columns of a block, histories at a time.
#pragma once

#include <cstddef>
#include <map>
#include <memory>

#include "cuda/device.h"
#include "cuda/fft_kernels.h"
#include "lcsm/status.h"

namespace lcsm::cuda {

// Roots of all block sizes in use, brought to the device once each.
class FftRoots {
 public:
  // Makes those for blocks of 2^log_u. Error: memory.
  Status Add(Device& device, int log_u);
  // What Add takes on the device the first time.
  static size_t BytesFor(int log_u) {
    return RootsBefore(log_u, log_u / 2) * sizeof(float);
  }
  const float* Of(int log_u) const { return roots_.at(log_u).data(); }

 private:
  std::map<int, Array<float>> roots_;
};

// log2 of the longest sub-block that is worked on in shared memory: four
// columns of it must fit, a quarter of the lines that are read.
int LogFit(const DeviceInfo& info);

// Complex numbers of scratch that a transform of blocks of 2^log_u wants for
// `histories`: 0 where it fits into shared memory.
size_t FftScratchSize(const DeviceInfo& info, int log_u, size_t histories);

// Enqueues what `work` says for all its histories. Settles scratch (of
// FftScratchSize, of this queue's own), first_pass and log_columns; `source`
// and `sink` are those of the whole.
void EnqueueFft(Queue& queue, const DeviceInfo& info, FftWork work,
                Complex* scratch) noexcept;

}  // namespace lcsm::cuda
