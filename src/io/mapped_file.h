// A file mapped into memory for reading.
//
// Weights are read where they lie, so a file may be cut short by somebody else
// while we compute with it. The kernel then answers a read past the new end
// with SIGBUS. We turn that into a sentence: the first mapping installs a
// process-wide SIGBUS handler which puts zeros where the file is gone, flags
// the mapping and lets the reader go on; CheckIntact() tells. Faults at
// addresses that are not ours go to whatever handler was there before.
//
// Thread safety: all const functions from any thread. Threads that read a
// mapping must not block SIGBUS (nobody does by default).
#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "lcsm/status.h"

namespace lcsm::io {

class MappedFile {
 public:
  // Maps all of a regular file. An empty file gives a null data(). Errors: the
  // file is missing, unreadable or not a regular file; too many mappings at
  // once (1024).
  static StatusOr<std::unique_ptr<MappedFile>> Open(
      const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Page aligned; valid as long as this object.
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Not ok once the file is shorter than it was when mapped: what was read
  // since may have been zeros. Costs an atomic load and an fstat (well under a
  // microsecond); never allocates while all is well.
  Status CheckIntact() const;

 private:
  MappedFile() = default;

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t slot_ = 0;  // In the handler's table; valid if data_ is not null.
  int fd_ = -1;
};

}  // namespace lcsm::io
