// For tests: how many allocations this binary has made. Linking it replaces the
// global operator new.
#pragma once

#include <cstddef>

namespace lcsm {

size_t NumAllocations();

}  // namespace lcsm
