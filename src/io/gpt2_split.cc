#include "io/gpt2_split.h"

#include <algorithm>
#include <array>

#include "io/unicode_tables.h"
#include "io/utf8.h"

namespace lcsm::io {
namespace {

struct Char {
  CharKind kind;
  size_t bytes;
};

// Precondition: at < text.size().
Char CharAt(std::string_view text, size_t at) {
  const CodePoint c = DecodeUtf8(text, at);
  return {c.valid ? KindOf(c.value) : CharKind::kOther, c.bytes};
}

// The end of the run of `kind` from `at` on.
size_t RunEnd(std::string_view text, size_t at, CharKind kind) {
  while (at < text.size()) {
    const Char c = CharAt(text, at);
    if (c.kind != kind) break;
    at += c.bytes;
  }
  return at;
}

// English contractions, lower case only, as in the original.
size_t ContractionBytes(std::string_view rest) {
  for (std::string_view c : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (rest.starts_with(c)) return c.size();
  }
  return 0;
}

}  // namespace

CharKind KindOf(uint32_t code_point) {
  static const std::array<CharKind, 128> kAscii = [] {
    std::array<CharKind, 128> kinds = {};
    for (size_t i = 0; i < kNumUnicodeRanges; ++i) {
      const UnicodeRange& range = kUnicodeRanges[i];
      for (uint32_t c = range.first; c <= range.last && c < 128; ++c) {
        kinds[c] = static_cast<CharKind>(range.kind);
      }
    }
    return kinds;
  }();
  if (code_point < kAscii.size()) return kAscii[code_point];
  const UnicodeRange* end = kUnicodeRanges + kNumUnicodeRanges;
  const UnicodeRange* range = std::lower_bound(
      kUnicodeRanges, end, code_point,
      [](const UnicodeRange& r, uint32_t c) { return r.last < c; });
  if (range == end || code_point < range->first) return CharKind::kOther;
  return static_cast<CharKind>(range->kind);
}

size_t NextGpt2Piece(std::string_view text, size_t begin) {
  if (text[begin] == '\'') {
    const size_t bytes = ContractionBytes(text.substr(begin));
    if (bytes > 0) return begin + bytes;
  }
  const Char first = CharAt(text, begin);
  if (first.kind != CharKind::kSpace)
    return RunEnd(text, begin + first.bytes, first.kind);
  // One blank belongs to the word that follows it.
  const size_t next = begin + first.bytes;
  if (text[begin] == ' ' && next < text.size()) {
    const Char second = CharAt(text, next);
    if (second.kind != CharKind::kSpace)
      return RunEnd(text, next + second.bytes, second.kind);
  }
  // White space up to the end of the text, or up to the last one of it, which
  // is left for the word that follows; alone it stands by itself.
  size_t end = begin;
  size_t last = begin;
  while (end < text.size()) {
    const Char c = CharAt(text, end);
    if (c.kind != CharKind::kSpace) break;
    last = end;
    end += c.bytes;
  }
  return end == text.size() || last == begin ? end : last;
}

}  // namespace lcsm::io
