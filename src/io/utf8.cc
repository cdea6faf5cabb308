#include "io/utf8.h"

namespace lcsm::io {

CodePoint DecodeUtf8(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) -> uint32_t {
    return offset + i < text.size()
               ? static_cast<unsigned char>(text[offset + i])
               : 0;  // No continuation byte, so it fails the test below.
  };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  size_t length = 0;
  uint32_t value = 0;
  uint32_t least = 0;
  if ((lead & 0xe0) == 0xc0) {
    length = 2, value = lead & 0x1f, least = 0x80;
  } else if ((lead & 0xf0) == 0xe0) {
    length = 3, value = lead & 0x0f, least = 0x800;
  } else if ((lead & 0xf8) == 0xf0) {
    length = 4, value = lead & 0x07, least = 0x10000;
  } else {
    return {lead, 1, false};
  }
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {lead, 1, false};
    value = value << 6 | (byte(i) & 0x3f);
  }
  if (value < least || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
    return {lead, 1, false};
  return {value, length, true};
}

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = DecodeUtf8(text, i);
    if (!c.valid) return false;
    i += c.bytes;
  }
  return true;
}

void AppendUtf8(uint32_t value, std::string* out) {
  const auto add = [out](uint32_t byte) {
    out->push_back(static_cast<char>(byte));
  };
  if (value < 0x80) {
    add(value);
  } else if (value < 0x800) {
    add(0xc0 | value >> 6);
    add(0x80 | (value & 0x3f));
  } else if (value < 0x10000) {
    add(0xe0 | value >> 12);
    add(0x80 | (value >> 6 & 0x3f));
    add(0x80 | (value & 0x3f));
  } else {
    add(0xf0 | value >> 18);
    add(0x80 | (value >> 12 & 0x3f));
    add(0x80 | (value >> 6 & 0x3f));
    add(0x80 | (value & 0x3f));
  }
}

}  // namespace lcsm::io
