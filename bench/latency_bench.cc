#include "bench/latency_bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <numeric>
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

}  // namespace

StatusOr<LatencyResult> RunLatency(
    const Model& model, const PrepareOptions& prepare, bool skip_mixers,
    ThreadPool& pool, const std::function<bool(double)>& progress) {
  const size_t length = prepare.horizon;
  LatencyResult result;
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const PreparedModel> prepared,
                        model.Prepare(prepare, pool, nullptr));
  result.plan = prepared->plan().Print();
  LCSM_ASSIGN_OR_RETURN(const std::unique_ptr<ModelState> state,
                        prepared->NewState(pool));
  state->SkipMixers(skip_mixers);
  std::mt19937 rng(7);
  std::vector<float> logits(model.info().padded_vocab);
  std::vector<double> ms(length), kept;
  kept.reserve(length);
  const Stopwatch whole;
  long switches = InvoluntarySwitches();
  for (size_t t = 0; t < length; ++t) {
    const int32_t id = static_cast<int32_t>(rng() % model.info().vocab);
    const Stopwatch watch;
    state->Step(id, logits.data());
    ms[t] = 1e3 * watch.Seconds();
    const long now = InvoluntarySwitches();
    if (now != switches) {
      switches = now;
      ms[t] = -1;
      ++result.interrupted;
    }
    if (t % kLook == 0 && progress &&
        !progress(static_cast<double>(t) / static_cast<double>(length))) {
      return Cancelled("stopped while measuring");
    }
  }
  result.seconds = whole.Seconds();
  result.tokens_per_second = static_cast<double>(length) / result.seconds;
  const size_t stretches = std::min(kStretches, length);
  for (size_t s = 0; s < stretches; ++s) {
    const size_t begin = length * s / stretches;
    const size_t end = length * (s + 1) / stretches;
    std::vector<double> here;
    for (size_t t = begin; t < end; ++t) {
      if (ms[t] >= 0) here.push_back(ms[t]);
    }
    if (here.empty()) continue;
    kept.insert(kept.end(), here.begin(), here.end());
    result.stretches.push_back({end, Quantile(here, 0.5),
                                *std::max_element(here.begin(), here.end())});
  }
  result.step_ms.mean = std::accumulate(kept.begin(), kept.end(), 0.0) /
                        static_cast<double>(std::max<size_t>(1, kept.size()));
  result.step_ms.p50 = Quantile(kept, 0.5);
  result.step_ms.p99 = Quantile(kept, 0.99);
  result.step_ms.p99_9 = Quantile(kept, 0.999);
  result.step_ms.max = Quantile(kept, 1);
  return result;
}

}  // namespace lcsm::bench
