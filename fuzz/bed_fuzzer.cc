// BED files: every region read has a sequence, a name and a length.
#include <cstdint>
#include <string>
#include <string_view>

#include "check.h"
#include "io/bed.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lcsm::io;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto regions = ReadBed(*TextSource::FromBytes(std::string(bytes), "f"));
  if (!regions.ok()) {
    CheckSentence(regions.status());
    return 0;
  }
  FUZZ_CHECK(!regions->empty());
  size_t line = 0;
  for (const BedRegion& region : *regions) {
    FUZZ_CHECK(!region.chrom.empty());
    FUZZ_CHECK(!region.name.empty());
    FUZZ_CHECK(region.begin < region.end);
    FUZZ_CHECK(region.line > line);
    line = region.line;
  }
  return 0;
}
