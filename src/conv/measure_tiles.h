// Timing tiles on this machine: what the planner is tuned with, and a
// benchmark.
#pragma once

#include <cstddef>
#include <functional>

#include "conv/problem.h"
#include "conv/tile_costs.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// How one kind of tile is timed.
struct TileTiming {
  // Groups that take turns, as a model's do between two tiles of one of them:
  // with 8 layers of 256 channels 128. Fewer where they would take more than
  // max_bytes.
  size_t groups = 128;
  size_t max_bytes = size_t{256} << 20;
  size_t repeats = 5;  // Sweeps over all groups; medians of them are taken.
};

// Times tiles of `block` by `tau`, with one slice or (many) with up to seven
// older blocks. Milliseconds to seconds, on the calling thread. Errors: memory.
StatusOr<TileCost> MeasureTile(Tau tau, size_t block, bool many,
                               const TileTiming& timing);

// Times every kind of tile that plans for `problem` may use. `progress` is told
// the share done and answers false to stop (kCancelled).
StatusOr<TileCosts> MeasureCosts(const Problem& problem,
                                 const std::function<bool(double)>& progress);

}  // namespace lcsm::conv
