// Finding the cheapest levels (design 5).
//
// A dynamic programme over the block size: for each U the cheapest ways to
// serve everything within blocks of U, and to each every next level. "Ways"
// because memory counts too: of two, one may be cheaper and the other smaller,
// so a front of both is kept and the limit is applied at the end, to the exact
// account. What no sum over levels tells, the taps that are kept, is settled
// before: one search for each number of them.
#pragma once

#include <vector>

#include "conv/plan.h"
#include "conv/problem.h"
#include "conv/tile_costs.h"
#include "lcsm/status.h"

namespace lcsm::conv {

// Levels of Method::kPlanned. Errors: a memory limit that the smallest plan
// does not meet; the sentence has both numbers.
StatusOr<std::vector<Level>> PlanLevels(const Problem& problem,
                                        const PlanOptions& options);

// Nanoseconds a position of all of a level's tiles, of one history, as a mean
// over the sequence.
double LevelNs(const Problem& problem, const Level& level,
               const TileCosts& costs);
// Of all levels and all histories; red cells are not in it.
double PlanNs(const Plan& plan, const TileCosts& costs);

}  // namespace lcsm::conv
