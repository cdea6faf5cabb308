#include "cuda/device_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/byte_text.h"
#include "cuda/measure.h"
#include "cuda/tiles.h"

namespace lcsm::cuda {
namespace {

bool IsHybrid(const conv::PlanOptions& options) {
  return options.method == conv::Method::kPaper &&
         options.tau == conv::Tau::kHybrid;
}

StatusOr<conv::Plan> Fastest(DeviceCosts& costs, const conv::Problem& problem,
                             const conv::PlanOptions& options,
                             DeviceCostSource source) {
  // Where nothing is to be chosen, nothing is measured.
  if (!options.levels.empty() || options.costs != nullptr ||
      !(options.method == conv::Method::kPlanned || IsHybrid(options))) {
    return conv::MakePlan(problem, options);
  }
  conv::TileCosts measured;
  if (source != DeviceCostSource::kEstimates) {
    measured = costs.For(problem, TilesOf(options),
                         source == DeviceCostSource::kMeasured);
  }
  const DeviceInfo& info = costs.device()->info();
  if (IsHybrid(options)) {
    // Untuned, the CPU's hybrid: a function of the block alone.
    return measured.measured()
               ? HybridPlan(info, problem, measured, options.schedule)
               : conv::MakePlan(problem, options);
  }
  // Neither the CPU's estimate nor its measurements say anything here.
  conv::PlanOptions with_costs = options;
  with_costs.costs = std::make_shared<const conv::TileCosts>(
      FillDeviceCosts(info, problem, measured));
  return conv::MakePlan(problem, with_costs);
}

Status TooLittle(const ModelMemory& memory, size_t room) {
  const conv::MemoryEstimate& bytes = memory.convolution;
  return ResourceExhausted(fmt::format(
      "{} positions take {} on {} (taps {}, spectra {}, histories {}, kept "
      "blocks {}, scratch {}) by the plan '{}', and {} are left for them",
      memory.plan.problem.length, ByteText(memory.Total()), memory.device,
      ByteText(bytes.taps), ByteText(bytes.spectra), ByteText(bytes.histories),
      ByteText(bytes.blocks), ByteText(bytes.scratch), memory.plan.Print(),
      ByteText(room)));
}

}  // namespace

TilesFor TilesOf(const conv::PlanOptions& options) {
  return options.levels.empty() && IsHybrid(options) ? TilesFor::kHybrid
                                                     : TilesFor::kPlanned;
}

StatusOr<conv::Plan> ChooseDevicePlan(DeviceCosts& costs,
                                      const conv::Problem& problem,
                                      const PrepareOptions& options,
                                      const DeviceRoom& room) {
  LCSM_ASSIGN_OR_RETURN(conv::Plan plan, Fastest(costs, problem, options.plan,
                                                 options.device_costs));
  LCSM_ASSIGN_OR_RETURN(const size_t takes, room.takes(plan));
  if (takes <= room.bytes || options.plan.method != conv::Method::kPlanned ||
      !options.plan.levels.empty()) {
    return plan;
  }
  // The planner knows slower ones that may fit, if it is told what plans take
  // here.
  conv::PlanOptions within = options.plan;
  within.memory_limit = room.bytes;
  within.bytes = [&room](const conv::Plan& candidate) {
    const auto account = room.takes(candidate);
    return account.ok() ? *account : SIZE_MAX;
  };
  auto smaller = Fastest(costs, problem, within, options.device_costs);
  return smaller.ok() ? std::move(smaller).value() : std::move(plan);
}

std::shared_ptr<const DeviceTileCosts> TileCostsOf(
    DeviceCosts& costs, const conv::Problem& problem,
    DeviceCostSource device_costs) {
  DeviceTileCosts known;
  known.problem = problem;
  if (device_costs != DeviceCostSource::kEstimates) {
    known.measured = costs.For(problem, TilesFor::kPlanned, false);
  }
  known.all = FillDeviceCosts(costs.device()->info(), problem, known.measured);
  if (known.measured.measured()) known.file = costs.KeptIn().string();
  return std::make_shared<const DeviceTileCosts>(std::move(known));
}

StatusOr<ModelMemory> MemoryOn(Device& device) {
  ModelMemory memory;
  memory.device =
      fmt::format("{} ({})", device.info().label, device.info().name);
  LCSM_ASSIGN_OR_RETURN(memory.device_free, device.FreeBytes());
  memory.uncounted =
      "the driver's context, kernels and graphs, and what libraries keep "
      "besides scratch memory";
  return memory;
}

StatusOr<ModelMemory> OutlineConvolution(DeviceCosts& costs,
                                         const conv::Problem& problem,
                                         const PrepareOptions& options) {
  Device& device = *costs.device();
  const auto account =
      [&device](const conv::Plan& plan) -> StatusOr<ModelMemory> {
    LCSM_ASSIGN_OR_RETURN(ModelMemory memory, MemoryOn(device));
    LCSM_ASSIGN_OR_RETURN(memory.convolution,
                          PreparedTiles::BytesFor(device, plan));
    memory.preparing = memory.convolution.taps + memory.convolution.spectra +
                       memory.convolution.making;
    memory.plan = plan;
    return memory;
  };
  DeviceRoom room;
  LCSM_ASSIGN_OR_RETURN(room.bytes, device.FreeBytes());
  if (options.memory_limit != 0) {
    room.bytes = std::min(room.bytes, options.memory_limit);
  }
  room.takes = [&account](const conv::Plan& plan) -> StatusOr<size_t> {
    LCSM_ASSIGN_OR_RETURN(const ModelMemory memory, account(plan));
    return memory.Total();
  };
  LCSM_ASSIGN_OR_RETURN(const conv::Plan plan,
                        ChooseDevicePlan(costs, problem, options, room));
  LCSM_ASSIGN_OR_RETURN(ModelMemory memory, account(plan));
  if (memory.Total() > room.bytes) return TooLittle(memory, room.bytes);
  memory.tile_costs = TileCostsOf(costs, problem, options.device_costs);
  return memory;
}

}  // namespace lcsm::cuda
