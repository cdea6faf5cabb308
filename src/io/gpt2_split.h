// GPT-2's pre-tokenizer: cuts text into the pieces within which byte pairs may
// merge. The regular expression
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// written out by hand: it needs Unicode classes and look-ahead, and matches in
// one pass without going back.
#pragma once

#include <cstddef>
#include <string_view>

namespace lcsm::io {

// The end of the piece that begins at `begin`. Precondition: begin <
// text.size(). Bytes that are no UTF-8 count as "other" characters. The pieces
// of a text cover it without gaps.
size_t NextGpt2Piece(std::string_view text, size_t begin);

}  // namespace lcsm::io
