// Bytes that can be read at any place: of plain files, and of bgzip files,
// which are gzip in blocks of at most 64 KiB, each with its size in its header.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::io {

bool IsGzip(std::string_view bytes);

// Enough of a bgzip block to know it by.
inline constexpr size_t kBgzfHeaderBytes = 18;
// Bytes of the block that begins so, 0 if it is none of bgzip's.
size_t BgzfBlockBytes(std::string_view header);

class RandomBytes {
 public:
  virtual ~RandomBytes() = default;
  // After decompression.
  virtual uint64_t size() const = 0;
  // Exactly `count` bytes from `offset` on. Errors: beyond the end,
  // unreadable, damaged, shorter than when it was opened.
  virtual Status Read(uint64_t offset, size_t count, char* out) = 0;
};

// For tests and fuzzers.
std::unique_ptr<RandomBytes> MakeMemoryBytes(std::string bytes);
// A regular file as it is. Errors: missing, unreadable, not a regular file.
StatusOr<std::unique_ptr<RandomBytes>> OpenPlainBytes(const std::string& file);
// A bgzip file. All its blocks are found by going from header to header, some
// microseconds each, so that no .gzi index is needed. `name` is for messages.
// Errors: not a bgzip file, cut short, damaged headers.
StatusOr<std::unique_ptr<RandomBytes>> OpenBgzf(
    std::unique_ptr<RandomBytes> raw, const std::string& name);

}  // namespace lcsm::io
