// Is the planner's choice the best there is? Other plans of the same problem,
// found by enumeration and run beside it.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "bench/timing.h"
#include "conv/plan.h"
#include "conv/tile_costs.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct PlanSearchCase {
  conv::Problem problem;  // taps == length.
  // Threads, memory limit and tuning count; the method is the planner's.
  conv::PlanOptions options;
  // Plans that are run: the best by foretold cost, and below them every choice
  // of radix and tau for each level of the planner's plan.
  size_t candidates = 24;
  // The fastest of those, which are then run in turns with the planner's plan
  // and the paper's hybrid.
  size_t finalists = 6;
  size_t rounds = 9;
};

struct PlanRow {
  std::string name;  // "planner", "hybrid" or "found".
  std::string levels;
  double predicted_ns = 0;  // Nanoseconds per token and channel, red cells not
                            // in it; 0 where nothing is foretold.
  double screened_ns = 0;   // The faster of two runs, before the rounds.
  Spread ns;                // Of the rounds.
  Spread to_planner;        // Its time over the planner's, of each round.
  double max_relative_error = 0;
  size_t bytes = 0;
};

struct PlanSearchResult {
  // Planner, hybrid, then the finalists from the fastest down. A finalist that
  // is the planner's plan is not run twice.
  std::vector<PlanRow> rows;
  size_t enumerated = 0;  // Candidates that were run at all.
};

// Valid lists of levels for the problem, without repeats, cheapest first by
// `costs`: `best` of all, and for each level of `plan` its alternatives, with
// what is cheapest above.
std::vector<std::vector<conv::Level>> EnumeratePlans(
    const conv::Plan& plan, const conv::TileCosts& costs, size_t best);

// `proceed` is asked now and then with the share done; false cancels. Errors:
// plans, memory, an answer that misses the bound.
StatusOr<PlanSearchResult> SearchPlans(
    const PlanSearchCase& wanted, const std::function<bool(double)>& proceed);

}  // namespace lcsm::bench
