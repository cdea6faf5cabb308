// What each level of a plan costs: foretold, measured, and against the
// machine's limits.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "conv/plan.h"
#include "conv/tile_costs.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct LevelReport {
  conv::Level level;
  // All of these are per position, of all mixers, rows and channels.
  double predicted_ns = 0;
  double measured_ns = -1;  // Below 0: not measured.
  double flops = 0;
  double bytes = 0;        // Of spectra, kept blocks, inputs and outputs.
  double working_set = 0;  // Bytes that come round before any is met again.
  size_t memory = 0;       // Spectra and kept blocks.
};

struct PlanReport {
  std::vector<LevelReport> levels;
  double red_ns = -1;  // Red cells and what rides with them.
  double error = -1;   // Against float64, of the measured plan.
  double predicted_ns = 0, measured_ns = -1;
};

// The account of a plan without running it.
PlanReport DescribePlan(const conv::Plan& plan, const conv::TileCosts& costs);

// Runs the plan: checks its answers, then times single tiles of every level on
// the pool. Needs the memory that the plan says.
Status MeasurePlan(const conv::Plan& plan, ThreadPool& pool,
                   PlanReport& report);

// The tiling drawn: positions from the left, each tile a square or column of
// squares between its inputs and its outputs, coloured by level, the red cells
// as the diagonal.
std::string PlanSvg(const conv::Plan& plan);

}  // namespace lcsm::bench
