#include "bench/gpu_mixers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <utility>

#include "bench/svg_plot.h"
#include "bench/timing.h"
#include "conv/layout.h"
#include "conv/reference.h"
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

// Rows of inputs that take turns: no power of two, so that blocks differ.
constexpr size_t kRows = 997;
// Positions whose outputs are checked, and how many of their columns.
constexpr size_t kChecked = 2048, kColumns = 6;
// Positions that are enqueued before the host waits.
constexpr size_t kAhead = 4096;
// Larger blocks than a run that is prepared has the patience for.
constexpr cuda::MeasureLimits kMeasureLimits = {.seconds = 30,
                                                .bytes = size_t{1} << 32};

float Noise(size_t i) {
  uint64_t z = (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z ^= z >> 27;
  return static_cast<float>(static_cast<int32_t>(z >> 32)) * 0x1p-31f;
}

class Run {
 public:
  static StatusOr<std::unique_ptr<Run>> Create(
      const std::shared_ptr<cuda::Device>& device, const conv::Plan& plan) {
    std::unique_ptr<Run> run(new Run(device, plan));
    LCSM_RETURN_IF_ERROR(run->Make());
    return run;
  }

  // The largest error as a share of max |y|.
  StatusOr<double> Check() {
    const Problem& problem = plan_.problem;
    const size_t count = std::min(kChecked, problem.length);
    LCSM_RETURN_IF_ERROR(tiles_->Reset(0, false));
    LCSM_RETURN_IF_ERROR(Go(0, count, nullptr));
    const size_t row = tiles_->histories() * kLanes;
    std::vector<float> y(count * row);
    LCSM_RETURN_IF_ERROR(
        device_->Download(y.data(), y_.data(), y.size() * sizeof(float)));
    double worst = 0, largest = 0;
    for (size_t k = 0; k < kColumns; ++k) {
      // Mixers, channels and rows all get their turn.
      const size_t mixer = k * 7 % problem.mixers;
      const size_t channel = k * 13 % problem.channels;
      const size_t batch = k % problem.batch;
      const size_t history =
          (mixer * GroupsFor(problem.channels) + channel / kLanes) *
              problem.batch +
          batch;
      const size_t column = history * kLanes + channel % kLanes;
      std::vector<float> x(count), rho(count);
      for (size_t t = 0; t < count; ++t) {
        x[t] = x_host_[t % kRows * row + column];
        rho[t] = Tap(mixer, t, channel);
      }
      for (size_t t = 0; t < count; t += 1 + t / 16) {
        const double want = conv::ReferenceOutput(x.data(), t, rho.data(),
                                                  std::min(count, rho.size()));
        worst = std::max(worst, std::abs(y[t * row + column] - want));
        largest = std::max(largest, std::abs(want));
      }
    }
    if (!(worst <= 2e-6 * largest)) {
      return InternalError("the mixers' outputs are wrong: off by " +
                           std::to_string(worst / largest) + " of max |y|");
    }
    return worst / largest;
  }

  // Seconds of positions [first, last), all known before pretended. `at` is
  // told the seconds so far at powers of two; may be null.
  StatusOr<double> Time(size_t first, size_t last,
                        const std::function<void(size_t, double)>& at) {
    LCSM_RETURN_IF_ERROR(tiles_->Reset(0, false));
    LCSM_RETURN_IF_ERROR(tiles_->PretendKnown(first));
    const Stopwatch clock;
    LCSM_RETURN_IF_ERROR(Go(first, last, [&](size_t position) {
      if (at) at(position, clock.Seconds());
    }));
    return clock.Seconds();
  }

 private:
  Run(const std::shared_ptr<cuda::Device>& device, const conv::Plan& plan)
      : device_(device), plan_(plan) {}

  // One row of noise serves all mixers, shifted.
  float Tap(size_t mixer, size_t n, size_t channel) const {
    return Noise((n + 31 * mixer) * plan_.problem.channels + channel);
  }

  Status Make() {
    const Problem& problem = plan_.problem;
    LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<conv::FilterBank> bank,
                          conv::FilterBank::Create(problem));
    constexpr size_t kAtATime = 4096;
    std::vector<float> rows(kAtATime * problem.channels);
    for (size_t m = 0; m < problem.mixers; ++m) {
      for (size_t n = 0; n < bank->taps(); n += kAtATime) {
        const size_t count = std::min(kAtATime, bank->taps() - n);
        for (size_t i = 0; i < count * problem.channels; ++i) {
          rows[i] = Noise((n + 31 * m) * problem.channels + i);
        }
        bank->SetTaps(m, n, count, rows.data());
      }
    }
    LCSM_ASSIGN_OR_RETURN(prepared_,
                          cuda::PreparedTiles::Create(device_, plan_, *bank));
    LCSM_ASSIGN_OR_RETURN(queue_, device_->NewQueue(false));
    LCSM_ASSIGN_OR_RETURN(tiles_, cuda::Tiles::Create(prepared_, *queue_));
    const size_t row = tiles_->histories() * kLanes;
    x_host_.resize(kRows * row);
    for (size_t i = 0; i < x_host_.size(); ++i) {
      // Lanes that fill a group up stay silent.
      const size_t group =
          i % row / kLanes / problem.batch % GroupsFor(problem.channels);
      const bool there = group * kLanes + i % kLanes < problem.channels;
      x_host_[i] = there ? Noise(~i) : 0.0f;
    }
    LCSM_ASSIGN_OR_RETURN(x_, device_->Bring<float>(x_host_, "inputs"));
    const size_t kept = std::min(kChecked, problem.length);
    LCSM_ASSIGN_OR_RETURN(y_, device_->NewArray<float>(kept * row, "outputs"));
    cuda::RedCellsKernel::Args red;
    red.control = tiles_->control();
    red.x = x_.data();
    red.num_rows = kRows;
    red.y = y_.data();
    red.num_kept = kept;
    red.lines = tiles_->lines();
    red.stride = tiles_->stride();
    red.histories = tiles_->histories();
    red.batch = problem.batch;
    red.length = problem.length;
    red.head = prepared_->head();
    red.folds_tiny = tiles_->folds_tiny() ? 1 : 0;
    const auto step = [this, red] {
      queue_->Launch<cuda::CountKernel>({tiles_->control()});
      queue_->Launch<cuda::RedCellsKernel>(red);
    };
    LCSM_ASSIGN_OR_RETURN(step_, cuda::Replayed::Create(*queue_, step));
    return OkStatus();
  }

  // Positions [first, last); `done` is told of powers of two, after waiting.
  Status Go(size_t first, size_t last,
            const std::function<void(size_t)>& done) {
    for (size_t t = first; t < last; ++t) {
      step_.Run();
      tiles_->Advance();
      const bool power = ((t + 1) & t) == 0;
      if (power || (t + 1) % kAhead == 0) {
        LCSM_RETURN_IF_ERROR(queue_->Wait());
        if (power && done) done(t + 1);
      }
    }
    return queue_->Wait();
  }

  const std::shared_ptr<cuda::Device> device_;
  const conv::Plan plan_;
  std::shared_ptr<const cuda::PreparedTiles> prepared_;
  std::unique_ptr<cuda::Queue> queue_;
  std::unique_ptr<cuda::Tiles> tiles_;
  cuda::Replayed step_;
  std::vector<float> x_host_;
  cuda::Array<float> x_, y_;
};

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
StatusOr<double> Sampled(Run& run, size_t length) {
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
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<Run> run,
                        Run::Create(device, plan));
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
