// Known tokens through a whole model: tokens per second, where the time goes,
// and how far from the machine's limits.
#pragma once

#include <cstddef>
#include <vector>

#include "base/thread_pool.h"
#include "lcsm/status.h"
#include "runtime/model.h"

namespace lcsm::bench {

struct PrefillCase {
  size_t length = 8192;
  size_t following = 0;  // Positions that may come after.
  size_t repeats = 3;
  bool logits = true;  // Of every position, as for scores.
};

struct PrefillResult {
  size_t length = 0;
  double prepare_seconds = 0;
  // Medians over the repeats, of the whole call and its parts.
  double seconds = 0, mixer_seconds = 0, head_seconds = 0;
  double tokens_per_second = 0;
  double mixer_share = 0;
  // Multiply-adds in matrices, counted twice, over the time not spent in long
  // convolutions.
  double matrix_gflops = 0;
  size_t peak_rss_bytes = 0;  // Of the process so far.
};

// Random tokens. Errors: those of Prepare and Prefill.
StatusOr<PrefillResult> RunPrefill(const Model& model,
                                   const PrefillCase& wanted,
                                   size_t memory_limit, ThreadPool& pool,
                                   const ModelState::Progress& progress);

// GFLOP/s at which the pool's threads, each on its own, multiply a matrix
// [out][in] with 96 vectors at a time.
StatusOr<double> MatrixGflops(size_t in, size_t out, ThreadPool& pool);

}  // namespace lcsm::bench
