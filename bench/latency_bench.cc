#include "bench/latency_bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <random>

#include "bench/timing.h"

namespace lcsm::bench {
namespace {

constexpr size_t kStretches = 256;
// Steps between two looks at the progress.
constexpr size_t kLook = 1024;

long InvoluntarySwitches() {
  rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

// Milliseconds of each step of one run, below 0 for the interrupted ones.
struct Timed {
  std::vector<double> ms;
  double seconds = 0;  // The whole run.
};

StatusOr<Timed> RunOnce(const PreparedModel& prepared, const ModelInfo& info,
                        size_t length, bool skip_mixers, ThreadPool& pool,
                        const std::function<bool(size_t)>& progress) {
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                        prepared.NewState(pool));
  state->SkipMixers(skip_mixers);
  std::mt19937 rng(7);
  std::vector<float> logits(info.padded_vocab);
  Timed run;
  run.ms.resize(length);
  const Stopwatch whole;
  long switches = InvoluntarySwitches();
  for (size_t t = 0; t < length; ++t) {
    const int32_t id = static_cast<int32_t>(rng() % info.vocab);
    const Stopwatch watch;
    state->Step(id, logits.data());
    run.ms[t] = 1e3 * watch.Seconds();
    const long now = InvoluntarySwitches();
    if (now != switches) {
      switches = now;
      run.ms[t] = -1;
    }
    if (t % kLook == 0 && !progress(t)) {
      return Cancelled("stopped while measuring");
    }
  }
  run.seconds = whole.Seconds();
  return run;
}

}  // namespace

StatusOr<LatencyResult> RunLatency(
    const Model& model, const PrepareOptions& prepare, bool skip_mixers,
    size_t repeats, ThreadPool& pool,
    const std::function<bool(double)>& progress) {
  const size_t length = prepare.horizon;
  LatencyResult result;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        model.Prepare(prepare, pool, nullptr));
  result.plan = prepared->plan().Print();
  std::vector<Timed> runs;
  for (size_t r = 0; r < repeats; ++r) {
    const auto look = [&](size_t t) {
      return !progress || progress(static_cast<double>(r * length + t) /
                                   static_cast<double>(repeats * length));
    };
    LCSM_ASSIGN_OR_RETURN(Timed run, RunOnce(*prepared, model.info(), length,
                                             skip_mixers, pool, look));
    result.seconds += run.seconds;
    runs.push_back(std::move(run));
  }
  result.tokens_per_second =
      static_cast<double>(repeats * length) / result.seconds;
  std::vector<double> steps, positions;
  const size_t stretches = std::min(kStretches, length);
  for (size_t s = 0; s < stretches; ++s) {
    const size_t begin = length * s / stretches;
    const size_t end = length * (s + 1) / stretches;
    std::vector<double> here;
    for (size_t t = begin; t < end; ++t) {
      std::vector<double> times;
      for (const Timed& run : runs) {
        if (run.ms[t] >= 0) times.push_back(run.ms[t]);
      }
      result.interrupted += repeats - times.size();
      if (times.empty()) continue;
      steps.insert(steps.end(), times.begin(), times.end());
      here.push_back(*std::min_element(times.begin(), times.end()));
    }
    if (here.empty()) continue;
    positions.insert(positions.end(), here.begin(), here.end());
    result.stretches.push_back({end, Quantile(here, 0.5),
                                *std::max_element(here.begin(), here.end())});
  }
  result.step_ms = StatisticsOf(steps);
  result.position_ms = StatisticsOf(positions);
  return result;
}

}  // namespace lcsm::bench
