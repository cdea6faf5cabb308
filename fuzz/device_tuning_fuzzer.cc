// Files of a device's tile costs, which other programs may have written: what
// is accepted is written again in the same words.
#include <cstdint>
#include <string>

#include "check.h"
#include "cuda/device_tuning.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using lcsm::cuda::DeviceTuning;
  const std::string text(reinterpret_cast<const char*>(data), size);
  lcsm::cuda::DeviceInfo info;
  info.name = "GPU";
  info.software = "driver 1.0, runtime 1.0";
  // As it is, and as tables of this very device and version, which a seed could
  // not name for long.
  const std::string none = DeviceTuning().Print(info);
  const std::string head = none.substr(0, none.size() - 4);  // Without "end".
  for (const std::string& file : {text, head + text}) {
    const auto read = DeviceTuning::Parse(file, "f", info);
    if (!read.ok()) {
      CheckSentence(read.status());
      continue;
    }
    const std::string printed = read->Print(info);
    const auto again = DeviceTuning::Parse(printed, "f", info);
    FUZZ_CHECK(!again.ok() || again->Print(info) == printed);
  }
  return 0;
}
