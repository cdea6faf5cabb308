// Every step of a whole run, timed one by one: how even the time per token is.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "bench/model_bench.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::bench {

// Steps of a stretch of positions.
struct LatencyStretch {
  size_t position = 0;      // The last one.
  double p50 = 0, max = 0;  // Milliseconds, interrupted steps left out.
};

struct LatencyResult {
  std::string plan;
  StepStatistics step_ms;  // Of all steps of all runs but the interrupted ones.
  size_t interrupted = 0;  // Steps that met an involuntary context switch.
  // Of each position's fastest run. Every run takes the same steps, so that
  // what the engine does at a position shows in all of them and what the
  // machine does beside it in one or another. Of one run it is step_ms.
  StepStatistics position_ms;
  double seconds = 0;  // All runs, interrupted steps included.
  double tokens_per_second = 0;
  std::vector<LatencyStretch> stretches;  // Of the fastest runs.
};

// Decodes `prepare.horizon` random tokens from an empty context, `repeats`
// times (at least 1). With `skip_mixers` the long convolutions are left out:
// what steps take without them, and how even this machine lets them be.
// `progress` is told the share done and answers false to stop (kCancelled).
// Errors: those of Model::Prepare.
StatusOr<LatencyResult> RunLatency(const Model& model,
                                   const PrepareOptions& prepare,
                                   bool skip_mixers, size_t repeats,
                                   ThreadPool& pool,
                                   const std::function<bool(double)>& progress);

}  // namespace lcsm::bench
