// Where a session's histories lie: [mixer][batch row][group][time][kLanes],
// with padding in between.
#pragma once

#include <cstddef>

#include "conv/problem.h"
#include "kernels/lanes.h"

namespace lcsm::conv {

// Floats from one group's history to the next. An odd number of lines: with a
// power of two, as lengths tend to be, the lines that one step touches in all
// groups would fall into the same set of every cache (128 groups, 8 ways).
inline size_t HistoryStride(size_t length) { return (length | 1) * kLanes; }

inline size_t HistoryGroups(const Problem& problem) {
  return problem.mixers * problem.batch * GroupsFor(problem.channels);
}

inline size_t HistoryFloats(const Problem& problem) {
  return HistoryGroups(problem) * HistoryStride(problem.length);
}

}  // namespace lcsm::conv
