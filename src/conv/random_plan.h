// For tests: any valid plan.
#pragma once

#include <random>
#include <vector>

#include "conv/level_op.h"
#include "conv/plan.h"

namespace lcsm::conv {

inline Plan RandomPlan(const Problem& problem, std::mt19937& rng) {
  const size_t reach = std::min(problem.taps, problem.length);
  std::vector<Level> levels;
  const auto fused_can = [](size_t block) {
    return block >= SmallestBlock(Tau::kFftFused) && (block & (block - 1)) == 0;
  };
  const auto any_tau = [&](size_t block, bool many) {
    std::vector<Tau> taus = {Tau::kDirect, Tau::kDirectBlocked};
    if (fused_can(block)) {
      taus.insert(taus.end(), 3, Tau::kFftFused);
      if (!many) taus.push_back(Tau::kFftLibrary);
    }
    return taus[rng() % taus.size()];
  };
  if (reach < 2) {
    return MakePlan(problem, levels, Schedule::kAcrossLayers).value();
  }
  // Small parts first, so that blocks of all sizes end a plan.
  const size_t until = 1 + rng() % problem.length;
  size_t block = 1;
  while (block < until) {
    // Powers of two mostly, or transforms would never be allowed.
    const size_t radices[] = {2, 2, 4, 8, 4, 16, 3, 5};
    const size_t radix = radices[rng() % (rng() % 4 == 0 ? 8 : 6)];
    Level level = {block, radix, Tau::kDirect};
    const size_t slices = SlicesOf(problem, level).count;
    level.tau = any_tau(block, radix != 2 || slices > 1);
    if (level.tau == Tau::kFftFused && slices == 1 && rng() % 3 == 0) {
      level.spectra = Spectra::kRemade;
    }
    levels.push_back(level);
    block *= radix;
  }
  const Level end = {block, Level::kToTheEnd, Tau::kFftFused, Serves::kDistant};
  if (fused_can(block) && rng() % 2 == 0) {
    levels.push_back(
        {block, Level::kToTheEnd, any_tau(block, false), Serves::kNeighbours});
    while (SlicesOf(problem, end).count != 0) {
      const size_t radix = size_t{2} << (rng() % 3);
      const bool last = rng() % 3 == 0 || block * radix >= problem.length;
      levels.push_back({block, last ? Level::kToTheEnd : radix, Tau::kFftFused,
                        Serves::kDistant});
      if (last) break;
      block *= radix;
    }
  } else {
    Level level = {block, Level::kToTheEnd, Tau::kDirect};
    level.tau = any_tau(block, SlicesOf(problem, level).count > 1);
    if (fused_can(block) && rng() % 6 == 0) level.tau = Tau::kFftPast;
    levels.push_back(level);
  }
  return MakePlan(problem, levels, Schedule::kAcrossLayers).value();
}

}  // namespace lcsm::conv
