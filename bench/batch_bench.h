// Decode steps of several sequences side by side: what sharing the weights is
// worth.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::bench {

struct BatchResult {
  size_t rows = 0;
  // Of a step of all rows, medians of `repeats`; mixers are long convolutions.
  double step_ms = 0, mixer_ms = 0;
  double tokens_per_second = 0;
};

struct BatchCase {
  std::vector<size_t> rows;
  size_t prompt = 64, steps = 256, repeats = 5;
};

// Each number of rows in turn, `repeats` times, behind a prompt of random
// tokens; prepared as `prepare` says, but for the horizon, which is what the
// run takes. The last logits of every row are first compared, in every bit,
// with those of a state by itself. `progress` is told the share done and
// answers false to stop (kCancelled). Errors: those of the model; rows that
// differ.
StatusOr<std::vector<BatchResult>> RunBatch(
    const Model& model, const BatchCase& wanted, PrepareOptions prepare,
    ThreadPool& pool, const std::function<bool(double)>& progress);

}  // namespace lcsm::bench
