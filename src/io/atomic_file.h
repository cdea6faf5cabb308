// Output files that appear whole or not at all.
//
// Bytes go to a temporary file in the target's folder; Commit syncs it and
// renames it over the target. Until then, and after any failure, the target is
// as it was and nothing else is left behind. A target that exists and is not a
// regular file (a pipe, /dev/stdout) is written to directly.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "lcsm/status.h"

namespace lcsm::io {

class AtomicFile {
 public:
  // Errors: the folder is missing or not writable, the target is a folder.
  static StatusOr<AtomicFile> Create(const std::filesystem::path& path);
  ~AtomicFile();  // Abandons what was not committed.
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;

  // Buffered. Errors (full disk and the like) are sticky: every later call
  // gives the same sentence.
  Status Write(std::span<const std::byte> bytes);
  Status Write(std::string_view text);
  // Replaces bytes written before, e.g. a header with counts. Error: a target
  // that is not a regular file.
  Status Overwrite(uint64_t offset, std::span<const std::byte> bytes);
  bool CanOverwrite() const { return !direct_; }
  // Flushes, syncs, renames. Nothing may be written after it.
  Status Commit();

 private:
  AtomicFile() = default;
  Status Flush();
  Status Fail(int error);
  void Abandon();

  std::filesystem::path path_;
  std::string temporary_;  // Empty if direct_.
  int fd_ = -1;
  bool direct_ = false;
  std::string buffer_;
  Status status_;
};

// Writes a whole file at once.
Status WriteFileAtomically(const std::filesystem::path& path,
                           std::string_view contents);

// Reads a whole file, a pipe or a device. Errors: missing, unreadable, a
// folder, more than `max_bytes`.
StatusOr<std::string> ReadFile(const std::filesystem::path& path,
                               size_t max_bytes);

}  // namespace lcsm::io
