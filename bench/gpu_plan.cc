#include "bench/gpu_plan.h"

#include "bench/due_samples.h"
#include "bench/gpu_run.h"

namespace lcsm::bench {

Status MeasureDevicePlan(const std::shared_ptr<cuda::Device>& device,
                         const conv::Plan& plan, PlanReport& report) {
  const size_t length = plan.problem.length;
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<GpuRun> run,
                        GpuRun::Create(device, plan));
  LCSM_ASSIGN_OR_RETURN(report.error, run->Check());
  LCSM_ASSIGN_OR_RETURN(const double red, run->TimeRedCells(length / 2));
  report.red_ns = 1e9 * red;
  if (plan.Deferred()) {
    LCSM_ASSIGN_OR_RETURN(const double whole, run->Time(0, length, nullptr));
    report.measured_ns = 1e9 * whole / static_cast<double>(length);
    return OkStatus();
  }
  report.measured_ns = report.red_ns;
  for (LevelReport& row : report.levels) row.measured_ns = 0;
  for (const DueSample& sample : SampleDueWork(plan, length / 2).samples) {
    if (sample.known >= length) continue;  // Nobody asks for what follows.
    LCSM_ASSIGN_OR_RETURN(const double due, run->TimeDue(sample.known));
    const double ns = 1e9 * due * sample.weight;
    report.measured_ns += ns;
    if (plan.levels.empty()) continue;
    report.levels[conv::DueLevel(plan.levels, sample.known)].measured_ns += ns;
  }
  return OkStatus();
}

}  // namespace lcsm::bench
