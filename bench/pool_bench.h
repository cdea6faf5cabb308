// What handing work to the other threads costs.
#pragma once

#include <cstddef>

#include "bench/timing.h"

namespace lcsm::bench {

// Nanoseconds of one ParallelFor with a chunk for each thread.
struct PoolResult {
  size_t threads = 0;
  // Empty chunks, workers awake: the caller may well do all of them itself.
  double empty_p50 = 0, empty_p99 = 0;
  // Chunks that wait until each thread has one: the way there and back.
  double together_p50 = 0, together_p99 = 0;
  // The same after workers went to sleep.
  double asleep_p50 = 0, asleep_p99 = 0;
};

// `calls` of each kind that is timed awake, a hundredth of it asleep. Fewer
// than two threads have nothing to hand over: all zero.
PoolResult RunPool(size_t threads, size_t calls);

}  // namespace lcsm::bench
