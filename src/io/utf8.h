// UTF-8, one code point at a time, for text that may be anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lcsm::io {

struct CodePoint {
  uint32_t value = 0;
  size_t bytes = 1;    // How far to go on; never 0.
  bool valid = false;  // If not, one byte that starts no well-formed sequence.
};

// The code point at text[offset]. Precondition: offset < text.size(). Overlong
// forms, surrogates and values past U+10FFFF are not valid.
CodePoint DecodeUtf8(std::string_view text, size_t offset);

bool IsUtf8(std::string_view text);

// Precondition: a valid code point.
void AppendUtf8(uint32_t value, std::string* out);

}  // namespace lcsm::io
