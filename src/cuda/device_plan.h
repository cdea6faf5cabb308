// Which plan is followed on a device: the one place where that is chosen, for
// models that are prepared, for who only asks, and for convolutions without a
// model.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "conv/plan.h"
#include "cuda/device.h"
#include "cuda/device_tuning.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::cuda {

// What a plan is to fit into.
struct DeviceRoom {
  size_t bytes = 0;
  // What a plan takes of it.
  std::function<StatusOr<size_t>(const conv::Plan&)> takes;
};

// The plan of `options.plan` for `problem`, by what is known of tiles on the
// device, or is measured now (`options.device_costs`). Where the planner's
// fastest does not fit, its fastest that does; if none does, the first all the
// same: what it takes is what a refusal has to say. Errors: those of
// conv::MakePlan and of `room.takes`.
StatusOr<conv::Plan> ChooseDevicePlan(DeviceCosts& costs,
                                      const conv::Problem& problem,
                                      const PrepareOptions& options,
                                      const DeviceRoom& room);

// By what plans for `problem` go there. Nothing is measured.
std::shared_ptr<const DeviceTileCosts> TileCostsOf(
    DeviceCosts& costs, const conv::Problem& problem,
    DeviceCostSource device_costs);

// Which tiles it matters to `options`, or would, what they cost.
TilesFor TilesOf(const conv::PlanOptions& options);

// What ModelMemory says of a device as it is now, and nothing yet of what is to
// be there. Error: the device's.
StatusOr<ModelMemory> MemoryOn(Device& device);

// The plan of convolutions without a model, of whose options only `plan`,
// `memory_limit` and `device_costs` matter, and what they take. Requires
// problem.primed: histories are whole on devices. Errors: those of
// ChooseDevicePlan; too little memory, with the numbers.
StatusOr<ModelMemory> OutlineConvolution(DeviceCosts& costs,
                                         const conv::Problem& problem,
                                         const PrepareOptions& options);

}  // namespace lcsm::cuda
