// The paper's hybrid: per block size the fastest way to compute a tile, from
// measurements on record.
#pragma once

#include <cstddef>

#include "conv/problem.h"

namespace lcsm::conv {

// A function of the block size alone, so that a plan that was not tuned is the
// same on every run (design 6). Tau::kMeasured is the way to have it otherwise.
Tau HybridTau(size_t block);

}  // namespace lcsm::conv
