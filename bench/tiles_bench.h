// Every tau at every block size, single tiles on one thread: what the hybrid's
// table rests on.
#pragma once

#include <cstddef>
#include <vector>

#include "conv/plan.h"
#include "lcsm/status.h"

namespace lcsm::bench {

struct TileRow {
  size_t block = 0;
  // Nanoseconds per token and channel that a level of this block size costs;
  // below 0: not measured.
  double direct = -1, direct_blocked = -1, fft_library = -1, fft_fused = -1;
};

// Block sizes 1, 2, 4 .. max_block. Direct sums are left out above 1024 and the
// library above 65 536.
StatusOr<std::vector<TileRow>> RunTiles(size_t max_block, size_t repeats);

}  // namespace lcsm::bench
