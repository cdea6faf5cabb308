// For tests that compare memory with what was foretold of it.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <fstream>

namespace lcsm {

// The address space of this process: large buffers are mapped as they are made.
// Says nothing under sanitizers (LCSM_SANITIZED), which map what they like.
inline size_t MappedBytes() {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace lcsm
