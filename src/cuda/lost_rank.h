// Which rank of a model that is split ended it.
#pragma once

#include <cstddef>

#include "lcsm/status.h"

namespace lcsm::cuda {

// The error of the first of `ranks` devices that has one, by `device(rank)`;
// only where all answer that of the library that sums among them, by
// `library(rank)`, which may have met on one rank what happened to another. Ok:
// neither knows of any.
template <typename DeviceStatus, typename LibraryStatus>
Status WhyLost(size_t ranks, DeviceStatus&& device, LibraryStatus&& library) {
  for (size_t r = 0; r < ranks; ++r) LCSM_RETURN_IF_ERROR(device(r));
  for (size_t r = 0; r < ranks; ++r) LCSM_RETURN_IF_ERROR(library(r));
  return OkStatus();
}

}  // namespace lcsm::cuda
