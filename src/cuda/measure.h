// What tiles cost on a device, for the planner and the hybrid: an estimate that
// makes plans a function of the problem and the device's name, or measurements.
//
// Measuring is bounded: small blocks come first, none is begun when the time is
// up, and none whose histories are larger than a limit is measured at all. What
// was not measured is the estimate, scaled by how wrong it was nearby. What
// must never happen: a run that fails because a tile could not be measured.
#pragma once

#include <memory>

#include "conv/plan.h"
#include "conv/tile_costs.h"
#include "cuda/device.h"
#include "lcsm/status.h"

namespace lcsm::cuda {

// From bytes, operations and the cost of a launch; never compared with a device
// yet (docs/cuda.md).
conv::TileCosts EstimateDeviceCosts(const DeviceInfo& info,
                                    const conv::Problem& problem);

// Nanoseconds of a tile of one group, the launch included, with all histories
// of `problem` at once. Errors: memory; a library that is not there; the
// device's.
StatusOr<conv::TileCost> MeasureDeviceTile(std::shared_ptr<Device> device,
                                           const conv::Problem& problem,
                                           conv::Tau tau, size_t block,
                                           bool many);

// Which kinds of tiles are of interest.
enum class TilesFor {
  kPlanned,  // The planner's: own sums and transforms, of one block and many.
  kHybrid,   // Every way, of one block.
};

struct MeasureLimits {
  double seconds = 3;                // After these no kind is begun.
  size_t bytes = size_t{256} << 20;  // Of the histories of one kind.
};

// Measures the kinds for `problem` that `measured` lacks, and adds them. Those
// that do not fit into memory or the limits, or have no library, are left out.
// Error: the device's.
Status MeasureDeviceCosts(const std::shared_ptr<Device>& device,
                          const conv::Problem& problem, TilesFor use,
                          const MeasureLimits& limits,
                          conv::TileCosts* measured);

// `measured`, and for every kind that it lacks the estimate, scaled as that was
// wrong at the nearest block of the same kind.
conv::TileCosts FillDeviceCosts(const DeviceInfo& info,
                                const conv::Problem& problem,
                                const conv::TileCosts& measured);

// The paper's tiling, for each block the way that is cheapest by `measured`;
// ways without a measurement at that block or below are out of question.
// Errors: those of conv::MakePlan.
StatusOr<conv::Plan> HybridPlan(const DeviceInfo& info,
                                const conv::Problem& problem,
                                const conv::TileCosts& measured,
                                conv::Schedule schedule);

}  // namespace lcsm::cuda
