// Regions from a BED file.
//
// Thread safety: a plain value; reading is a pure function of the file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/text_source.h"
#include "lcsm/status.h"

namespace lcsm::io {

struct BedRegion {
  std::string chrom;
  uint64_t begin = 0, end = 0;  // From 0, the end not included; begin < end.
  std::string name;             // Column 4, or "chrom:begin-end".
  size_t line = 0;
};

// All regions, in the file's order, plain or gzip. Empty lines, comments (#),
// "track" and "browser" lines are passed over; columns after the fourth are
// ignored. Columns are separated by tabs, or by blanks in a line without tabs.
// Errors, each naming the file and line: fewer than three columns, an end that
// is not a whole number or not after its begin; a file without regions.
StatusOr<std::vector<BedRegion>> ReadBed(TextSource& text);

}  // namespace lcsm::io
