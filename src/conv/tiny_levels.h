// Blocks of 1 and 2, which have no pass of their own: the red cells' pass
// before does their two or three products on the way. A pass of their own
// touches two lines in every history for a handful of products, and is over
// before another thread has fetched them.
#pragma once

#include <cstddef>
#include <vector>

#include "conv/plan.h"

namespace lcsm::conv {

inline constexpr size_t kTinyLevels = 2;

// Whether the levels begin with such.
inline bool FoldsTiny(const std::vector<Level>& levels) {
  if (levels.size() <= kTinyLevels) return false;
  for (size_t k = 0; k < kTinyLevels; ++k) {
    const Level& level = levels[k];
    if (level.radix != 2 || level.serves != Serves::kSiblings ||
        (level.tau != Tau::kDirect && level.tau != Tau::kDirectBlocked)) {
      return false;
    }
  }
  return true;
}

}  // namespace lcsm::conv
