// What tiles cost on a device, for the planner: an estimate that makes plans a
// function of the problem and the device's name, or measurements.
#pragma once

#include <memory>

#include "conv/tile_costs.h"
#include "cuda/device.h"
#include "lcsm/status.h"

namespace lcsm::cuda {

// From bytes, operations and the cost of a launch; never compared with a device
// yet (docs/cuda.md).
conv::TileCosts EstimateDeviceCosts(const DeviceInfo& info,
                                    const conv::Problem& problem);

// Nanoseconds of a tile of one group, the launch included, with all histories
// of `problem` at once. Errors: memory; the device's.
StatusOr<conv::TileCost> MeasureDeviceTile(std::shared_ptr<Device> device,
                                           const conv::Problem& problem,
                                           conv::Tau tau, size_t block,
                                           bool many);
// Every kind that plans for `problem` may use, but those that do not fit into
// memory.
StatusOr<conv::TileCosts> MeasureDeviceCosts(std::shared_ptr<Device> device,
                                             const conv::Problem& problem);

}  // namespace lcsm::cuda
