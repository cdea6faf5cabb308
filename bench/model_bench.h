// Decode steps of a whole model at given positions, with and without what mixes
// along time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "bench/timing.h"
#include "conv/plan.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::bench {

struct ModelCase {
  std::vector<size_t> positions;
  size_t steps = 256;  // Timed at each position, in each of `rounds`, with and
                       // without mixers.
  size_t rounds = 3;
  conv::PlanOptions plan;
  size_t memory_limit = 0;  // Of weights, filters and session; 0: none.
  // Reach positions with a made-up history (at once) instead of by prefill of
  // random tokens.
  bool synthetic_history = true;
};

struct StepStatistics {
  double mean = 0, p50 = 0, p99 = 0, p99_9 = 0, max = 0;  // Milliseconds.
};
// Zeros of nothing.
StepStatistics StatisticsOf(const std::vector<double>& ms);

struct PositionResult {
  size_t position = 0;
  bool synthetic_history = false;
  StepStatistics step_ms, step_without_mixers_ms;
  // Red cells plus each level's tile cost over the steps between two of its
  // tiles: what a step pays on average over a whole sequence, big tiles
  // included, whether or not one fell into the window. Of a stack, whose mixers
  // are of several kinds: the mean of the steps from half of the position up to
  // it.
  double mixer_ms_amortised = 0;
  double mixer_share =
      0;  // Of mixers in (step without mixers + amortised mixers).
};

struct ModelResult {
  std::string plan;
  double prepare_seconds = 0;
  // The bytes of matrices that a step reads, and the median time in which the
  // same threads read as many and only add them up: what a step without mixers
  // cannot go below.
  size_t step_bytes = 0;
  double floor_ms = 0;
  std::vector<PositionResult> positions;
};

// Errors: positions beyond the model's limit, memory.
StatusOr<ModelResult> RunModel(const Model& model, const ModelCase& wanted,
                               ThreadPool& pool);

}  // namespace lcsm::bench
