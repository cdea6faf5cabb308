#include "bench/machine.h"

#include "base/cpu_info.h"
#include "kernels/library_fft.h"
#include "lcsm/version.h"

namespace lcsm::bench {

nlohmann::ordered_json MachineJson() {
  const CpuInfo cpu = GetCpuInfo();
  return {{"cpu", cpu.model},
          {"cpus", cpu.cpus},
          {"l1d_bytes", cpu.l1d_bytes},
          {"l2_bytes", cpu.l2_bytes},
          {"l3_bytes", cpu.l3_bytes},
          {"simd_target", SimdTarget()},
          {"fft_library", LibraryFft::LibraryName()},
          {"lcsm_version", LCSM_VERSION}};
}

}  // namespace lcsm::bench
