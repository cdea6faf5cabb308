// What each level of a plan costs on a device: plan_bench.h for GPUs.
#pragma once

#include <memory>

#include "bench/plan_bench.h"
#include "conv/plan.h"
#include "cuda/device.h"
#include "lcsm/status.h"

namespace lcsm::bench {

// MeasurePlan on a device: checks its answers, then times the tiles of every
// level. Plans with deferred levels, whose tiles run beside the steps, are run
// whole and have a sum only. Needs the memory that the plan says there, and
// that of the filters here. Requires plan.problem.primed. Errors: those of
// GpuRun.
Status MeasureDevicePlan(const std::shared_ptr<cuda::Device>& device,
                         const conv::Plan& plan, PlanReport& report);

}  // namespace lcsm::bench
