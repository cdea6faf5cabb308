// What lcsm plan prints of a plan on the CPU.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "bench/plan_bench.h"
#include "conv/plan.h"
#include "conv/tile_costs.h"

namespace lcsm::cli {

// The plan and what it was made from.
struct MadePlan {
  conv::Plan plan;
  std::string schedule;  // ModelMemory::schedule.
  conv::TileCosts costs;
  bool tuned = false;
  size_t threads = 1;
};

std::string PlanText(const MadePlan& made, const bench::PlanReport& report);
std::string PlanJson(const MadePlan& made, const bench::PlanReport& report);
// Of a model without long convolutions.
std::string NothingPlanned(const MadePlan& made, bool json);

// "siblings", "neighbours", "deferred".
const char* ServesName(conv::Serves serves);
// "-" for a level that has none.
std::string RadixText(const conv::Level& level);
// Nanoseconds; "-" and null for those below 0.
std::string NsText(double ns);
nlohmann::ordered_json NsJson(double ns);
// "8 mixers of 256 channels, 1 row of .."
std::string ProblemText(const conv::Problem& problem);
nlohmann::ordered_json ProblemJson(const conv::Problem& problem);
// The last two rows of the table, below the levels.
std::string TotalsText(const bench::PlanReport& report);
// That answers were checked, if they were.
std::string CheckedText(const bench::PlanReport& report);

}  // namespace lcsm::cli
