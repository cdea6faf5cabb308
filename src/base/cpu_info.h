// What the machine is, and which SIMD target our kernels run on.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lcsm/status.h"

namespace lcsm {

struct CpuInfo {
  std::string model;     // As the kernel names it, e.g. "AMD EPYC".
  size_t cpus = 1;       // Processors this process may run on.
  size_t l1d_bytes = 0;  // 0 where unknown.
  size_t l2_bytes = 0;
  size_t l3_bytes = 0;
};

CpuInfo GetCpuInfo();

// Peak resident set of this process so far, in bytes; 0 where the system does
// not tell.
size_t PeakRssBytes();

// Name of the SIMD target that kernels created from now on will use: "avx3",
// "avx2", "sse4", ...
std::string SimdTarget();

// Names of the targets that this build holds and this CPU runs, best first.
std::vector<std::string> SupportedSimdTargets();

// Forces one target by name for the whole process (tests, bug reports;
// LCSM_SIMD in the environment of the command does the same). Not thread safe:
// call before any other thread exists. An unknown or unsupported name is an
// error that lists the supported ones; "best" undoes a former call.
Status ForceSimdTarget(const std::string& name);

}  // namespace lcsm
