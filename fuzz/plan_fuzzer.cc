// Plans and tables of tile costs, which people and other programs write: what
// is accepted serves every contribution exactly once.
#include <cstdint>
#include <string>
#include <vector>

#include "check.h"
#include "conv/plan.h"
#include "conv/tuning.h"

namespace {

using lcsm::conv::Level;
using lcsm::conv::Plan;
using lcsm::conv::Tile;

void Serve(const Level& level, const Tile& tile, size_t length,
           std::vector<int>& times) {
  for (size_t k = 0; k < tile.terms; ++k) {
    for (size_t i = 0; i < level.block; ++i) {
      for (size_t j = 0; j < tile.outputs; ++j) {
        const size_t input = (tile.newest - k) * level.block + i;
        const size_t output = tile.target * level.block + j;
        FUZZ_CHECK(input < output && output < length);
        ++times[input * length + output];
      }
    }
  }
}

void CheckEachPairOnce(const Plan& plan) {
  const size_t length = plan.problem.length;
  std::vector<int> times(length * length);
  for (size_t known = 1; known < length && !plan.levels.empty(); ++known) {
    const Level& due = plan.levels[lcsm::conv::DueLevel(plan.levels, known)];
    Serve(due, TileAt(plan.problem, due, known), length, times);
    for (const Level& level : plan.levels) {
      if (level.serves == lcsm::conv::Serves::kDistant &&
          known % level.block == 0) {
        Serve(level, TileAt(plan.problem, level, known), length, times);
      }
    }
  }
  for (size_t t = 0; t < length; ++t) {
    for (size_t i = 0; i < t; ++i) FUZZ_CHECK(times[i * length + t] == 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto tuning = lcsm::conv::Tuning::Parse(text, "f");
  if (!tuning.ok()) CheckSentence(tuning.status());
  const auto levels = lcsm::conv::ParseLevels(text, "f");
  if (!levels.ok()) {
    CheckSentence(levels.status());
    return 0;
  }
  for (const size_t length : {size_t{2}, size_t{100}, size_t{1} << 34}) {
    lcsm::conv::Problem problem;
    problem.length = problem.taps = length;
    problem.evaluation = {1, 16};
    const auto plan =
        MakePlan(problem, *levels, lcsm::conv::Schedule::kAcrossLayers);
    if (!plan.ok()) {
      CheckSentence(plan.status());
      continue;
    }
    (void)plan->Memory(2);
    const auto again = lcsm::conv::ParseLevels(plan->Levels(), "f");
    FUZZ_CHECK(again.ok() && *again == plan->levels);
    if (length <= 100) CheckEachPairOnce(*plan);
  }
  return 0;
}
