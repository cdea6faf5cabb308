#include "bench/gpu_mixers.h"

#include <map>
#include <utility>

#include "bench/gpu_floor.h"
#include "bench/gpu_run.h"
#include "bench/gpu_sampling.h"
#include "bench/svg_plot.h"
#include "bench/timing.h"

namespace lcsm::bench {
using nlohmann::ordered_json;

StatusOr<ordered_json> MeasureGpuMixer(
    const std::shared_ptr<cuda::Device>& device, const GpuMixerCase& wanted,
    const GpuMethod& method) {
  const conv::Problem problem =
      GpuProblem(wanted.mixers, wanted.channels, wanted.batch, wanted.length);
  LCSM_ASSIGN_OR_RETURN(const GpuPlan fitting,
                        FittingPlan(*device, problem, method));
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<GpuRun> run,
                        GpuRun::Create(device, fitting.plan));
  ordered_json row = {{"method", method.label}, {"plan", fitting.plan.Print()}};
  LCSM_ASSIGN_OR_RETURN(row["max_relative_error"], run->Check());
  row["device_bytes"] = fitting.bytes;
  // The two of its red cells, and of tiles.
  row["launches_a_step"] = 2 + MeanTileLaunches(*device, fitting.plan);
  const TimeStretch stretch = [&](size_t first, size_t last) {
    return run->Time(first, last, nullptr);
  };
  double estimate = 0;
  if (method.quadratic() && wanted.length > 64) {
    LCSM_ASSIGN_OR_RETURN(estimate, SampledQuadratic(wanted.length, stretch));
  }
  const bool sampled = estimate > wanted.whole_run_seconds;
  std::vector<double> seconds;
  std::map<size_t, double> curve;
  for (size_t k = 0; k < wanted.repeats; ++k) {
    double now = 0;
    if (sampled) {
      LCSM_ASSIGN_OR_RETURN(now, SampledQuadratic(wanted.length, stretch));
    } else {
      LCSM_ASSIGN_OR_RETURN(
          now, run->Time(0, wanted.length, [&](size_t position, double so_far) {
            curve[position] = so_far;
          }));
    }
    seconds.push_back(now);
    // Direct sums of long sequences, which nobody chooses.
    if (!sampled && now > wanted.whole_run_seconds) break;
  }
  const Spread spread = Summarize(seconds);
  row["seconds"] = spread.median;
  row["seconds_min"] = spread.min;
  row["seconds_max"] = spread.max;
  row["sampled"] = sampled;
  row["ns_per_token_channel"] =
      spread.median * 1e9 / static_cast<double>(wanted.length) /
      static_cast<double>(wanted.mixers * wanted.channels * wanted.batch);
  row["curve"] = ordered_json::array();
  for (const auto& [position, so_far] : curve) {
    row["curve"].push_back({position, so_far});
  }
  return row;
}

ordered_json MeasureGpuMixers(GpuCosts& costs, const GpuMixerCase& wanted) {
  ordered_json result = {{"mixers", wanted.mixers},
                         {"channels", wanted.channels},
                         {"batch", wanted.batch},
                         {"length", wanted.length}};
  std::vector<std::string> notes;
  const conv::Problem problem =
      GpuProblem(wanted.mixers, wanted.channels, wanted.batch, wanted.length);
  const conv::TileCosts& measured = costs.For(problem, &notes);
  result["tile_costs"] = measured.Print();
  result["results"] = MeasureMethods(
      GpuMethods(costs.device()->info(), problem, measured, true),
      wanted.seconds,
      [&](const GpuMethod& method, const Stopwatch&) {
        return MeasureGpuMixer(costs.device(), wanted, method);
      },
      &notes);
  result["notes"] = notes;
  return result;
}

std::string GpuMixerSvg(const ordered_json& result, const std::string& note) {
  Chart chart;
  chart.title = "Mixers alone: seconds of a sequence";
  chart.x_label = "positions";
  chart.y_label = "seconds";
  chart.note = note;
  for (const auto& row : result["results"]) {
    Series series;
    series.label = row["method"];
    for (const auto& point : row["curve"]) {
      if (point[0] < 16) continue;
      series.x.push_back(point[0]);
      series.y.push_back(point[1]);
    }
    if (row["curve"].empty()) {
      series.x.push_back(result["length"]);
      series.y.push_back(row["seconds"]);
    }
    chart.series.push_back(std::move(series));
  }
  return LogLogSvg(chart);
}

}  // namespace lcsm::bench
