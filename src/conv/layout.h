// Where a session's histories lie: [mixer][group][batch row][line][kLanes],
// with padding in between. Rows of a batch are neighbours: they meet the same
// filter, one after another, while its spectra are in the cache.
#pragma once

#include <cstddef>

#include "conv/problem.h"
#include "kernels/lanes.h"

namespace lcsm::conv {

// Floats from one group's history to the next. An odd number of lines: with a
// power of two, as lengths tend to be, the lines that one step touches in all
// groups would fall into the same set of every cache (128 groups, 8 ways).
inline size_t HistoryStride(size_t lines) { return (lines | 1) * kLanes; }

inline size_t HistoryGroups(const Problem& problem) {
  return problem.mixers * GroupsFor(problem.channels) * problem.batch;
}

}  // namespace lcsm::conv
