#include "base/cpu_info.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/simd_targets.h"
// After simd_targets.h.
#include "hwy/highway.h"

namespace lcsm {
namespace {

std::string LowerName(int64_t target) {
  std::string name = hwy::TargetName(target);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return name;
}

size_t CacheBytes(int name) {
  const long bytes = sysconf(name);
  return bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

}  // namespace

CpuInfo GetCpuInfo() {
  CpuInfo info;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) {
      const size_t colon = line.find(": ");
      if (colon != std::string::npos) info.model = line.substr(colon + 2);
      break;
    }
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    info.cpus = std::max(1, CPU_COUNT(&set));
  }
  info.l1d_bytes = CacheBytes(_SC_LEVEL1_DCACHE_SIZE);
  info.l2_bytes = CacheBytes(_SC_LEVEL2_CACHE_SIZE);
  info.l3_bytes = CacheBytes(_SC_LEVEL3_CACHE_SIZE);
  return info;
}

size_t PeakRssBytes() {
  rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

std::string SimdTarget() {
  const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return LowerName(targets & -targets);  // The lowest bit is the best target.
}

std::vector<std::string> SupportedSimdTargets() {
  std::vector<std::string> names;
  for (int64_t bits = hwy::SupportedTargets() & HWY_TARGETS; bits != 0;
       bits &= bits - 1) {
    names.push_back(LowerName(bits & -bits));
  }
  return names;
}

Status ForceSimdTarget(const std::string& name) {
  hwy::SetSupportedTargetsForTest(0);
  int64_t chosen = 0;  // No mock: the best.
  if (name != "best") {
    for (int64_t bits = hwy::SupportedTargets() & HWY_TARGETS; bits != 0;
         bits &= bits - 1) {
      if (LowerName(bits & -bits) == name) chosen = bits & -bits;
    }
    if (chosen == 0) {
      return InvalidInput(
          fmt::format("SIMD target \"{}\" is not one of those this CPU and "
                      "build support: {}",
                      name, fmt::join(SupportedSimdTargets(), ", ")));
    }
  }
  hwy::SetSupportedTargetsForTest(chosen);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  return OkStatus();
}

}  // namespace lcsm
