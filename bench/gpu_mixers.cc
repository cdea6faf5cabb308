#include "bench/gpu_mixers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <utility>

#include "bench/gpu_run.h"
#include "bench/svg_plot.h"
#include "bench/timing.h"
#include "conv/tiny_levels.h"
#include "cuda/measure.h"
#include "cuda/tiles.h"

namespace lcsm::bench {
namespace {

using conv::Method;
using conv::PlanOptions;
using conv::Problem;
using conv::Tau;
using nlohmann::ordered_json;

// Larger blocks than a run that is prepared has the patience for.
constexpr cuda::MeasureLimits kMeasureLimits = {.seconds = 30,
                                                .bytes = size_t{1} << 32};

// Launches of one step's tiles in the mean, beside the two of its red cells.
double MeanReplays(const conv::Plan& plan) {
  if (plan.levels.empty()) return 1;
  const bool folds = conv::FoldsTiny(plan.levels);
  double replays = 0;
  const size_t until = std::min<size_t>(plan.problem.length - 1, 1 << 16);
  for (size_t r = 1; r <= until; ++r) {
    const size_t due = conv::DueLevel(plan.levels, r);
    if (!folds || due >= conv::kTinyLevels) replays += 1;
  }
  return until == 0 ? 0 : replays / static_cast<double>(until);
}

Problem ProblemOf(const GpuMixerCase& wanted) {
  Problem problem;
  problem.mixers = wanted.mixers;
  problem.channels = wanted.channels;
  problem.batch = wanted.batch;
  problem.length = problem.taps = wanted.length;
  problem.primed = true;  // Histories are whole on devices.
  return problem;
}

// Quadratic methods: a few positions, each some steps, and the area under them.
StatusOr<double> Sampled(GpuRun& run, size_t length) {
  constexpr size_t kPlaces = 8, kSteps = 16;
  double area = 0, last_seconds = 0, last_place = 0;
  for (size_t k = 0; k <= kPlaces; ++k) {
    const size_t place =
        std::min(length - kSteps, std::max<size_t>(1, length * k / kPlaces));
    LCSM_ASSIGN_OR_RETURN(const double seconds,
                          run.Time(place, place + kSteps, nullptr));
    const double a_step = seconds / kSteps;
    if (k > 0) {
      area += (a_step + last_seconds) / 2 *
              (static_cast<double>(place) - last_place);
    }
    last_seconds = a_step;
    last_place = static_cast<double>(place);
  }
  return area;
}

// The paper's tiling with the way that is fastest for each block.
PlanOptions Hybrid(const cuda::DeviceInfo& info, const Problem& problem,
                   const conv::TileCosts& measured) {
  PlanOptions options = {.method = Method::kPaper};
  auto plan = cuda::HybridPlan(info, problem, measured, options.schedule);
  if (plan.ok()) options.levels = std::move(plan->levels);
  return options;
}

}  // namespace

StatusOr<ordered_json> MeasureGpuMixer(
    const std::shared_ptr<cuda::Device>& device, const GpuMixerCase& wanted,
    const PlanOptions& options, const std::string& label) {
  LCSM_ASSIGN_OR_RETURN(const conv::Plan plan,
                        conv::MakePlan(ProblemOf(wanted), options));
  LCSM_ASSIGN_OR_RETURN(const conv::MemoryEstimate memory,
                        cuda::PreparedTiles::BytesFor(*device, plan));
  const size_t bytes =
      memory.taps + memory.spectra + std::max(memory.making, memory.Session());
  LCSM_ASSIGN_OR_RETURN(const size_t left, device->FreeBytes());
  if (bytes > left) {
    return ResourceExhausted(label + " takes " + std::to_string(bytes >> 20) +
                             " MiB, and " + std::to_string(left >> 20) +
                             " MiB are free");
  }
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<GpuRun> run,
                        GpuRun::Create(device, plan));
  ordered_json row = {{"method", label}, {"plan", plan.Print()}};
  LCSM_ASSIGN_OR_RETURN(row["max_relative_error"], run->Check());
  row["device_bytes"] = bytes;
  row["graph_launches_a_step"] = 1 + MeanReplays(plan);
  const bool quadratic =
      options.method == Method::kLazy || options.method == Method::kEager;
  double estimate = 0;
  if (quadratic && wanted.length > 64) {
    LCSM_ASSIGN_OR_RETURN(estimate, Sampled(*run, wanted.length));
  }
  const bool sampled = estimate > wanted.whole_run_seconds;
  std::vector<double> seconds;
  std::map<size_t, double> curve;
  for (size_t k = 0; k < wanted.repeats; ++k) {
    double now = 0;
    if (sampled) {
      LCSM_ASSIGN_OR_RETURN(now, Sampled(*run, wanted.length));
    } else {
      LCSM_ASSIGN_OR_RETURN(
          now, run->Time(0, wanted.length, [&](size_t position, double so_far) {
            curve[position] = so_far;
          }));
    }
    seconds.push_back(now);
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

ordered_json MeasureGpuMixers(const std::shared_ptr<cuda::Device>& device,
                              const GpuMixerCase& wanted) {
  ordered_json result = {{"mixers", wanted.mixers},
                         {"channels", wanted.channels},
                         {"batch", wanted.batch},
                         {"length", wanted.length}};
  result["results"] = ordered_json::array();
  result["notes"] = ordered_json::array();
  const Problem problem = ProblemOf(wanted);
  conv::TileCosts measured;
  for (const cuda::TilesFor use :
       {cuda::TilesFor::kPlanned, cuda::TilesFor::kHybrid}) {
    const Status status = cuda::MeasureDeviceCosts(device, problem, use,
                                                   kMeasureLimits, &measured);
    if (status.ok()) continue;
    result["notes"].push_back("tiles were not measured: " + status.message());
  }
  const auto costs = std::make_shared<const conv::TileCosts>(
      cuda::FillDeviceCosts(device->info(), problem, measured));
  result["tile_costs"] = measured.Print();
  std::vector<std::pair<std::string, PlanOptions>> methods = {
      {"lazy", {.method = Method::kLazy}},
      {"eager", {.method = Method::kEager}},
      {"direct", {.method = Method::kPaper, .tau = Tau::kDirect}},
      {"direct-blocked",
       {.method = Method::kPaper, .tau = Tau::kDirectBlocked}},
      {"fft-library", {.method = Method::kPaper, .tau = Tau::kFftLibrary}},
      {"fft-fused", {.method = Method::kPaper, .tau = Tau::kFftFused}},
      {"hybrid", Hybrid(device->info(), problem, measured)}};
  PlanOptions planned = {.method = Method::kPlanned};
  planned.costs = costs;
  methods.emplace_back("planned", planned);
  planned.latency = conv::Latency::kFlat;
  methods.emplace_back("deferred", planned);
  double baseline = 0;
  for (const auto& [label, options] : methods) {
    auto row = MeasureGpuMixer(device, wanted, options, label);
    if (!row.ok()) {
      result["notes"].push_back(label + ": " + row.status().message());
      continue;
    }
    const double seconds = (*row)["seconds"];
    if (label == "lazy" || label == "eager") {
      if (baseline == 0 || seconds < baseline) baseline = seconds;
    } else if (baseline > 0) {
      (*row)["vs_better_of_lazy_and_eager"] = baseline / seconds;
    }
    result["results"].push_back(std::move(*row));
  }
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
