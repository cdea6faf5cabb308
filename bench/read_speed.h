// How fast memory can be read, by work that does nothing else.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"
#include "lcsm/status.h"

namespace lcsm::bench {

// Median milliseconds in which the pool's threads read `bytes` bytes over and
// over and only add them up. Error: memory.
StatusOr<double> ReadMs(size_t bytes, ThreadPool& pool);

}  // namespace lcsm::bench
