// Lines of a text file: plain, gzip or bgzip, from disk, a pipe or standard
// input.
//
// What is compressed is told by its first bytes, not by its name. Memory: one
// line and a few hundred KiB, whatever the file's size. A compressed file that
// was cut short, in the middle or between two of bgzip's blocks, is an error
// and never a short file; so is one whose checksums fail.
//
// Thread safety: one thread at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lcsm/status.h"

namespace lcsm::io {

class TextSource {
 public:
  // A line longer than this is an error: with compression a small file may
  // hold one that no memory does.
  static constexpr size_t kMaxLineBytes = size_t{1} << 30;

  // "-" is standard input. A read that a signal interrupts ends with kCancelled
  // if `cancel` (may be null) is set by then, and goes on if it is not. Errors:
  // missing, unreadable, a folder.
  static StatusOr<std::unique_ptr<TextSource>> Open(
      const std::string& file, const std::atomic<bool>* cancel = nullptr);
  // For tests and fuzzers: the same over bytes, compressed or not. `name` is
  // for messages.
  static std::unique_ptr<TextSource> FromBytes(std::string bytes,
                                               std::string name);
  ~TextSource();
  TextSource(const TextSource&) = delete;
  TextSource& operator=(const TextSource&) = delete;

  // The next line without its line end (LF or CRLF), valid until the next
  // call; false at the end. Errors: unreadable, cut short, damaged, a line of
  // more than `max_line_bytes`.
  StatusOr<bool> Next(std::string_view* line,
                      size_t max_line_bytes = kMaxLineBytes);

  // Of the line that Next gave last: its number, from 1; where it began, in
  // bytes after decompression; the bytes of its line end, 0 to 2.
  size_t line() const { return line_; }
  uint64_t offset() const { return offset_; }
  size_t line_end_bytes() const { return line_end_; }

  // For messages: the file's name, or "standard input".
  const std::string& name() const { return name_; }
  // "NAME: line N", what an error about the last line begins with.
  std::string At() const;
  bool compressed() const;
  // How much of the file was read, in [0, 1]; 0 for a pipe.
  double Done() const;

 private:
  class Bytes;
  TextSource(std::unique_ptr<Bytes> bytes, std::string name);

  std::unique_ptr<Bytes> bytes_;
  std::string name_;
  std::string_view block_;  // Read but not yet handed out.
  std::string pieces_;      // A line that began in an earlier block.
  size_t line_ = 0;
  uint64_t offset_ = 0;
  uint64_t next_offset_ = 0;
  size_t line_end_ = 0;
};

}  // namespace lcsm::io
