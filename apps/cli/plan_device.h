// lcsm plan --device: the plan that is followed on a GPU, what its levels cost
// there and what it takes.
#pragma once

#include <string>

#include "bench/plan_bench.h"
#include "conv/problem.h"
#include "cuda/device_tuning.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::cli {

struct DevicePlan {
  // The plan, and what costs are foretold by.
  ModelMemory memory;
  // Of the device's share of the channels, the largest where there are several.
  bench::PlanReport report;
};

// What is to be done besides asking.
struct DevicePlanWork {
  bool tune = false;     // First: tiles are measured anew.
  bool measure = false;  // Then: the plan is run on the first device.
};

// Of a model on a device, or of convolutions without a model. Errors: those of
// Model::EstimateMemory and cuda::OutlineConvolution; of measuring.
StatusOr<DevicePlan> PlanModelOnDevice(const Model& model,
                                       const PrepareOptions& prepare,
                                       const DevicePlanWork& work);
StatusOr<DevicePlan> PlanConvolutionOnDevice(cuda::DeviceCosts& costs,
                                             const conv::Problem& problem,
                                             const PrepareOptions& prepare,
                                             const DevicePlanWork& work);

std::string DevicePlanText(const DevicePlan& made);
std::string DevicePlanJson(const DevicePlan& made);

}  // namespace lcsm::cli
