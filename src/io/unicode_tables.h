// Which characters are letters, numbers or white space.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lcsm::io {

enum class CharKind : uint8_t { kOther = 0, kLetter, kNumber, kSpace };

struct UnicodeRange {
  uint32_t first;
  uint32_t last;
  uint8_t kind;  // A CharKind.
};
// Sorted, disjoint.
extern const UnicodeRange kUnicodeRanges[];
extern const size_t kNumUnicodeRanges;

CharKind KindOf(uint32_t code_point);

}  // namespace lcsm::io
