// What a device could do at best, by which steps are judged: bytes a second,
// and launches that do nothing.
#pragma once

#include <cstddef>
#include <memory>

#include "conv/plan.h"
#include "cuda/device.h"
#include "lcsm/status.h"

namespace lcsm::bench {

// Bytes a second, read and written ones together, of a copy of `bytes` within
// the device; the best of a few. Errors: memory; the device's.
StatusOr<double> GpuCopySpeed(const std::shared_ptr<cuda::Device>& device,
                              size_t bytes);

// Seconds of so many launches in one captured sequence, each with next to
// nothing to do and after the one before. Errors as above.
StatusOr<double> GpuLaunchFloor(const std::shared_ptr<cuda::Device>& device,
                                size_t launches);

// Launches behind a step in the mean, of the tiles that fall due in the plan's
// sequence. A library's call counts as one.
double MeanTileLaunches(cuda::Device& device, const conv::Plan& plan);

}  // namespace lcsm::bench
