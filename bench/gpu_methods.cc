#include "bench/gpu_methods.h"

#include <algorithm>

#include "cuda/measure.h"
#include "cuda/tiles.h"
#include "kernels/lanes.h"

namespace lcsm::bench {
namespace {

using conv::Method;
using conv::PlanOptions;
using conv::Problem;
using conv::Tau;

// Larger blocks than a run that is prepared has the patience for.
constexpr cuda::MeasureLimits kMeasureLimits = {.seconds = 15,
                                                .bytes = size_t{1} << 32};

// The paper's tiling with the way that is fastest for each block.
PlanOptions Hybrid(const cuda::DeviceInfo& info, const Problem& problem,
                   const conv::TileCosts& measured) {
  PlanOptions options = {.method = Method::kPaper};
  auto plan = cuda::HybridPlan(info, problem, measured, options.schedule);
  if (plan.ok()) options.levels = std::move(plan->levels);
  return options;
}

StatusOr<size_t> BytesOf(cuda::Device& device, const conv::Plan& plan) {
  LCSM_ASSIGN_OR_RETURN(const conv::MemoryEstimate memory,
                        cuda::PreparedTiles::BytesFor(device, plan));
  return memory.taps + memory.spectra +
         std::max(memory.making, memory.Session());
}

}  // namespace

const conv::TileCosts& GpuCosts::For(const Problem& problem,
                                     std::vector<std::string>* notes) {
  Measured& measured =
      measured_[{problem.mixers * GroupsFor(problem.channels), problem.batch}];
  // What once could not be measured is not tried again.
  if (measured.length >= problem.length) return measured.costs;
  measured.length = problem.length;
  for (const cuda::TilesFor use :
       {cuda::TilesFor::kPlanned, cuda::TilesFor::kHybrid}) {
    const Status status = cuda::MeasureDeviceCosts(
        device_, problem, use, kMeasureLimits, &measured.costs);
    if (status.ok()) continue;
    notes->push_back("tiles were not measured: " + status.message());
  }
  return measured.costs;
}

std::vector<GpuMethod> GpuMethods(const cuda::DeviceInfo& info,
                                  const Problem& problem,
                                  const conv::TileCosts& measured, bool taus) {
  std::vector<GpuMethod> methods = {{"lazy", {.method = Method::kLazy}},
                                    {"eager", {.method = Method::kEager}}};
  methods.push_back({"hybrid", Hybrid(info, problem, measured)});
  PlanOptions planned = {.method = Method::kPlanned};
  planned.costs = std::make_shared<const conv::TileCosts>(
      cuda::FillDeviceCosts(info, problem, measured));
  methods.push_back({"planned", planned});
  planned.latency = conv::Latency::kFlat;
  methods.push_back({"deferred", planned});
  if (taus) {
    for (const auto& [label, tau] :
         {std::pair("direct", Tau::kDirect),
          std::pair("direct-blocked", Tau::kDirectBlocked),
          std::pair("fft-library", Tau::kFftLibrary),
          std::pair("fft-fused", Tau::kFftFused)}) {
      methods.push_back({label, {.method = Method::kPaper, .tau = tau}});
    }
  }
  return methods;
}

nlohmann::ordered_json MeasureMethods(
    const std::vector<GpuMethod>& methods, double seconds,
    const std::function<StatusOr<nlohmann::ordered_json>(
        const GpuMethod&, const Stopwatch&)>& measure,
    std::vector<std::string>* notes) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  const Stopwatch clock;
  double baseline = 0;
  for (const GpuMethod& method : methods) {
    if (clock.Seconds() > seconds) {
      notes->push_back(method.label + ": there was no time left");
      continue;
    }
    auto row = measure(method, clock);
    if (!row.ok()) {
      notes->push_back(method.label + ": " + row.status().message());
      continue;
    }
    const double took = (*row)["seconds"];
    if (method.quadratic()) {
      if (baseline == 0 || took < baseline) baseline = took;
    } else if (baseline > 0) {
      (*row)["vs_better_of_lazy_and_eager"] = baseline / took;
    }
    rows.push_back(std::move(*row));
  }
  return rows;
}

Problem GpuProblem(size_t mixers, size_t channels, size_t batch,
                   size_t length) {
  Problem problem;
  problem.mixers = mixers;
  problem.channels = channels;
  problem.batch = batch;
  problem.length = problem.taps = length;
  problem.primed = true;
  return problem;
}

StatusOr<GpuPlan> FittingPlan(cuda::Device& device, const Problem& problem,
                              const GpuMethod& method) {
  LCSM_ASSIGN_OR_RETURN(const size_t left, device.FreeBytes());
  GpuPlan fitting;
  LCSM_ASSIGN_OR_RETURN(fitting.plan, conv::MakePlan(problem, method.options));
  LCSM_ASSIGN_OR_RETURN(fitting.bytes, BytesOf(device, fitting.plan));
  if (fitting.bytes > left && method.options.method == Method::kPlanned) {
    PlanOptions within = method.options;
    within.memory_limit = left;
    within.bytes = [&device](const conv::Plan& candidate) {
      const auto bytes = BytesOf(device, candidate);
      return bytes.ok() ? *bytes : SIZE_MAX;
    };
    auto smaller = conv::MakePlan(problem, within);
    if (smaller.ok()) {
      fitting.plan = std::move(smaller).value();
      LCSM_ASSIGN_OR_RETURN(fitting.bytes, BytesOf(device, fitting.plan));
    }
  }
  if (fitting.bytes > left) {
    return ResourceExhausted(
        method.label + " takes " + std::to_string(fitting.bytes >> 20) +
        " MiB, and " + std::to_string(left >> 20) + " MiB are free");
  }
  return fitting;
}

}  // namespace lcsm::bench
