#include "bench/gpu_paper.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "bench/gpu_floor.h"
#include "bench/gpu_hyena.h"
#include "bench/gpu_sampling.h"
#include "bench/gpu_stack.h"
#include "bench/svg_plot.h"
#include "bench/timing.h"

namespace lcsm::bench {
namespace {

using nlohmann::ordered_json;
using Host = GpuSteps::Host;

// Steps before those that are timed at a position: what clearing histories
// threw out of the caches is back.
constexpr size_t kWarm = 16;

// A method's model whose answers were found right, and how right.
struct Checked {
  std::unique_ptr<GpuSteps> steps;
  double error = 0;
};
struct Setting {
  size_t weight_bytes = 0;  // That a step reads.
  const char* error_name = "";
  std::function<StatusOr<Checked>(const GpuMethod&)> make;
};

StatusOr<Setting> Synthetic(const std::shared_ptr<cuda::Device>& device,
                            const GpuPaperCase& wanted,
                            const conv::Problem& problem, ThreadPool& pool) {
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const GpuStackParts> parts,
                        GpuStackParts::Create(device, problem, pool));
  const size_t count = std::min(wanted.checked, wanted.length);
  LCSM_ASSIGN_OR_RETURN(std::vector<float> want,
                        parts->HostOutputs(count, pool));
  Setting setting;
  setting.weight_bytes = parts->weight_bytes();
  setting.error_name = "max_relative_error";
  setting.make = [device, parts, want = std::move(want)](
                     const GpuMethod& method) -> StatusOr<Checked> {
    LCSM_ASSIGN_OR_RETURN(const GpuPlan fitting,
                          FittingPlan(*device, parts->problem(), method));
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<GpuStack> stack,
                          GpuStack::Create(parts, fitting.plan, fitting.bytes));
    LCSM_ASSIGN_OR_RETURN(const double error, stack->Check(want));
    return Checked{std::move(stack), error};
  };
  return setting;
}

StatusOr<Setting> Hyena(const std::shared_ptr<cuda::Device>& device,
                        const GpuPaperCase& wanted, ThreadPool& pool) {
  LCSM_ASSIGN_OR_RETURN(const GpuHyenaModel model,
                        GpuHyenaModel::Create(device, wanted.layers,
                                              wanted.width, wanted.length));
  const size_t count = std::min(wanted.checked, wanted.length);
  LCSM_ASSIGN_OR_RETURN(std::vector<float> want, model.HostLogits(count, pool));
  Setting setting;
  setting.weight_bytes = model.device->info().step_bytes;
  setting.error_name = "max_logit_difference";
  setting.make = [model, length = wanted.length, want = std::move(want),
                  &pool](const GpuMethod& method) -> StatusOr<Checked> {
    LCSM_ASSIGN_OR_RETURN(
        std::unique_ptr<GpuHyena> hyena,
        GpuHyena::Create(model, method.options, length, pool));
    LCSM_ASSIGN_OR_RETURN(const double error, hyena->Check(want));
    return Checked{std::move(hyena), error};
  };
  return setting;
}

ordered_json InMicroseconds(const Spread& spread) {
  return {{"median", spread.median * 1e6},
          {"min", spread.min * 1e6},
          {"max", spread.max * 1e6}};
}

// Everything that is measured of one method.
class Method {
 public:
  Method(GpuSteps& steps, const GpuPaperCase& wanted, const Stopwatch& clock)
      : steps_(steps), wanted_(wanted), clock_(clock) {}

  // Seconds of a sequence. Sets `sampled`.
  StatusOr<Spread> Sequence(bool quadratic, bool* sampled) {
    const size_t length = wanted_.length;
    const TimeStretch time = [this](size_t first, size_t last) {
      return Stretch(first, last);
    };
    const auto estimate = [&](size_t turn) {
      return quadratic ? SampledQuadratic(length, time)
                       : SampledTiling(length, turn, time);
    };
    steps_.LeaveMixersOut(false);
    LCSM_ASSIGN_OR_RETURN(const double first, estimate(0));
    *sampled = first > wanted_.whole_run_seconds;
    std::vector<double> seconds;
    for (size_t k = 0; k < wanted_.repeats; ++k) {
      LCSM_ASSIGN_OR_RETURN(const double now,
                            *sampled ? estimate(k + 1) : Stretch(0, length));
      seconds.push_back(now);
    }
    return Summarize(seconds);
  }

  // Steps here and there, with mixers and without in turns; the ratio of the
  // whole sequence's mean step to the latter.
  Status Steps(double mean, ordered_json* row) {
    (*row)["steps"] = ordered_json::array();
    double worst = 0;
    std::vector<double> bare;
    for (const size_t position : Positions()) {
      // One at least.
      if (!bare.empty() && OutOfTime()) break;
      std::vector<double> with, without;
      for (size_t k = 0; k < wanted_.repeats; ++k) {
        LCSM_ASSIGN_OR_RETURN(const double a, At(position, false));
        LCSM_ASSIGN_OR_RETURN(const double b, At(position, true));
        with.push_back(a);
        without.push_back(b);
      }
      const Spread some = Summarize(with), none = Summarize(without);
      bare.push_back(none.median);
      worst = std::max(worst, some.median / none.median);
      (*row)["steps"].push_back({{"position", position},
                                 {"with_us", InMicroseconds(some)},
                                 {"without_us", InMicroseconds(none)},
                                 {"ratio", some.median / none.median}});
    }
    const double none = Summarize(bare).median;
    (*row)["step_us_without_mixers"] = none * 1e6;
    (*row)["worst_ratio"] = worst;
    (*row)["amortised_ratio"] = mean / none;
    return OkStatus();
  }

  // Microseconds a step at half the length where the host waits for each, and
  // what of that the device would not need.
  Status HostWaits(ordered_json* row) {
    std::vector<double> waits, idle;
    for (size_t k = 0; k < wanted_.repeats; ++k) {
      LCSM_ASSIGN_OR_RETURN(const double ahead, At(wanted_.length / 2, false));
      LCSM_ASSIGN_OR_RETURN(const double waiting, At(wanted_.length / 2, false,
                                                     GpuSteps::Host::kWaits));
      waits.push_back(waiting);
      idle.push_back(std::max(0.0, 1 - ahead / waiting));
    }
    (*row)["step_us_host_waits"] = InMicroseconds(Summarize(waits));
    (*row)["idle_share"] = Summarize(idle).median;
    return OkStatus();
  }

  // Microseconds a step of the stretches timed for the sequence, by position.
  const std::map<size_t, double>& curve() const { return curve_; }

 private:
  bool OutOfTime() const { return clock_.Seconds() > wanted_.seconds; }

  StatusOr<double> Stretch(size_t first, size_t last) {
    LCSM_RETURN_IF_ERROR(steps_.PutAt(first));
    const Stopwatch clock;
    LCSM_RETURN_IF_ERROR(steps_.Go(last - first, Host::kAhead));
    const double seconds = clock.Seconds();
    if (last - first < wanted_.length) {
      curve_[first] = seconds * 1e6 / static_cast<double>(last - first);
    }
    return seconds;
  }

  // Seconds a step behind `position`.
  StatusOr<double> At(size_t position, bool bare, Host host = Host::kAhead) {
    const size_t left = wanted_.length - position;
    const size_t warm = std::min(kWarm, left / 2);
    const size_t count = std::min(wanted_.steps, left - warm);
    steps_.LeaveMixersOut(bare);
    LCSM_RETURN_IF_ERROR(steps_.PutAt(position));
    LCSM_RETURN_IF_ERROR(steps_.Go(warm, host));
    const Stopwatch clock;
    LCSM_RETURN_IF_ERROR(steps_.Go(count, host));
    return clock.Seconds() / static_cast<double>(count);
  }

  // Those that matter most first: the end, the start, what lies between.
  std::vector<size_t> Positions() const {
    const size_t length = wanted_.length;
    const size_t end = length - std::min(length, wanted_.steps + kWarm);
    std::vector<size_t> positions = {end};
    for (size_t at : {size_t{0}, length / 2, length / 8, length / 32}) {
      if (std::find(positions.begin(), positions.end(), at) ==
              positions.end() &&
          at <= end) {
        positions.push_back(at);
      }
    }
    return positions;
  }

  GpuSteps& steps_;
  const GpuPaperCase& wanted_;
  const Stopwatch& clock_;
  std::map<size_t, double> curve_;
};

// An axis of logarithms has no place for position 0.
void AddPoints(const std::map<size_t, double>& points, Series* series) {
  for (const auto& [position, microseconds] : points) {
    if (position == 0) continue;
    series->x.push_back(static_cast<double>(position));
    series->y.push_back(microseconds);
  }
}

StatusOr<ordered_json> MeasureMethod(
    const std::shared_ptr<cuda::Device>& device, const GpuPaperCase& wanted,
    const Setting& setting, const GpuMethod& method, double copy_speed,
    const Stopwatch& clock) {
  LCSM_ASSIGN_OR_RETURN(const Checked model, setting.make(method));
  GpuSteps& steps = *model.steps;
  ordered_json row = {{"method", method.label},
                      {"plan", steps.plan().Print()},
                      {setting.error_name, model.error},
                      {"device_bytes", steps.bytes()}};
  Method measured(steps, wanted, clock);
  bool sampled = false;
  LCSM_ASSIGN_OR_RETURN(const Spread spread,
                        measured.Sequence(method.quadratic(), &sampled));
  row["seconds"] = spread.median;
  row["seconds_min"] = spread.min;
  row["seconds_max"] = spread.max;
  row["sampled"] = sampled;
  const double mean = spread.median / static_cast<double>(wanted.length);
  row["step_us"] = mean * 1e6;
  row["curve"] = ordered_json::array();
  for (const auto& [position, microseconds] : measured.curve()) {
    row["curve"].push_back({position, microseconds});
  }
  if (method.quadratic()) return row;
  LCSM_RETURN_IF_ERROR(measured.Steps(mean, &row));
  LCSM_RETURN_IF_ERROR(measured.HostWaits(&row));
  const double speed = static_cast<double>(setting.weight_bytes) / mean;
  row["gigabytes_a_second"] = speed / 1e9;
  row["share_of_copy"] = speed / copy_speed;
  const double bare = double{row["step_us_without_mixers"]} / 1e6;
  const double bare_speed = static_cast<double>(setting.weight_bytes) / bare;
  row["gigabytes_a_second_without_mixers"] = bare_speed / 1e9;
  row["share_of_copy_without_mixers"] = bare_speed / copy_speed;
  const double launches = static_cast<double>(steps.Launches(true)) +
                          MeanTileLaunches(*device, steps.plan());
  row["launches_a_token"] = launches;
  row["launches_without_mixers"] = steps.Launches(false);
  LCSM_ASSIGN_OR_RETURN(
      const double floor,
      GpuLaunchFloor(device, static_cast<size_t>(launches + 0.5)));
  row["launch_floor_us"] = floor * 1e6;
  row["launch_share"] = floor / mean;
  return row;
}

}  // namespace

StatusOr<ordered_json> MeasureGpuPaper(GpuCosts& costs,
                                       const GpuPaperCase& wanted) {
  const Stopwatch whole;
  const std::shared_ptr<cuda::Device>& device = costs.device();
  const bool synthetic = wanted.setting == PaperSetting::kSynthetic;
  ThreadPool pool(0);
  const conv::Problem problem = GpuProblem(
      wanted.layers, wanted.width, synthetic ? wanted.batch : 1, wanted.length);
  ordered_json result = {{"setting", synthetic ? "synthetic" : "hyena"},
                         {"layers", wanted.layers},
                         {"width", wanted.width},
                         {"batch", problem.batch},
                         {"length", wanted.length}};
  std::vector<std::string> notes;
  LCSM_ASSIGN_OR_RETURN(const double copy_speed,
                        GpuCopySpeed(device, wanted.copy_bytes));
  const conv::TileCosts& measured = costs.For(problem, &notes);
  LCSM_ASSIGN_OR_RETURN(const Setting setting,
                        synthetic ? Synthetic(device, wanted, problem, pool)
                                  : Hyena(device, wanted, pool));
  result["weight_bytes_a_step"] = setting.weight_bytes;
  result["copy_gigabytes_a_second"] = copy_speed / 1e9;
  // What came before takes what it takes: costs of tiles are for later cases
  // too, and without them and the CPU's answers there is nothing to time.
  result["results"] = MeasureMethods(
      GpuMethods(device->info(), problem, measured, false), wanted.seconds,
      [&](const GpuMethod& method, const Stopwatch& clock) {
        return MeasureMethod(device, wanted, setting, method, copy_speed,
                             clock);
      },
      &notes);
  result["case_seconds"] = whole.Seconds();
  result["notes"] = notes;
  return result;
}

std::string GpuPaperSvg(const ordered_json& result, const std::string& note) {
  Chart chart;
  chart.title = "A step, end to end: microseconds by position";
  chart.x_label = "positions";
  chart.y_label = "microseconds";
  chart.note = note;
  Series bare;
  bare.label = "without mixers";
  bare.dashed = true;
  for (const auto& row : result["results"]) {
    Series series;
    series.label = row["method"];
    std::map<size_t, double> points;
    // Of tilings the stretches alike, else those of the whole sequence.
    for (const auto& point : row["curve"]) {
      if (!row.contains("steps")) points[point[0]] = point[1];
    }
    if (row.contains("steps")) {
      for (const auto& step : row["steps"]) {
        points[step["position"]] = step["with_us"]["median"];
      }
    }
    AddPoints(points, &series);
    if (row["method"] == "planned") {
      std::map<size_t, double> without;
      for (const auto& step : row["steps"]) {
        without[step["position"]] = step["without_us"]["median"];
      }
      AddPoints(without, &bare);
    }
    if (!series.x.empty()) chart.series.push_back(std::move(series));
  }
  if (!bare.x.empty()) chart.series.push_back(std::move(bare));
  return LogLogSvg(chart);
}

}  // namespace lcsm::bench
