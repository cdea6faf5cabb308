// Float32 arrays in one .npz file, array by array and row by row.
//
// A .npz file is a zip archive of .npy files. Entries are stored, not deflated
// (float32 activations hardly shrink), which is all that writing one takes;
// with zip64 where a size, an offset or the number of entries asks for it.
// Nothing of an array is held in memory; of a finished one, some 100 bytes for
// the list at the archive's end.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "io/atomic_file.h"
#include "lcsm/status.h"

namespace lcsm::io {

class NpzWriter {
 public:
  // The file appears at Finish or not at all. Errors: an output that cannot be
  // made, or that is a pipe: each entry's checksum stands before its data.
  static StatusOr<NpzWriter> Create(const std::filesystem::path& path);

  // Begins an array of this shape. Its name in the archive is `name` with what
  // is no ASCII letter, digit, '.', '-' or '_' replaced by '_', at most 200
  // bytes, and a number behind it where that would be taken; where the two
  // differ, the entry's comment is `name`.
  Status Begin(std::string_view name, std::span<const size_t> shape);
  // Values of the array, any number at a time.
  Status Append(std::span<const float> values);
  // Error: not as many values as the shape announced.
  Status End();

  // `comment` becomes the archive's own, cut to 65 535 bytes.
  Status Finish(std::string_view comment);

  // For tests: zip64 forms from this size, offset and count on.
  void UseZip64From(uint64_t limit) { zip64_from_ = limit; }

 private:
  struct Entry {
    std::string name;
    std::string comment;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    uint32_t checksum = 0;
  };

  explicit NpzWriter(AtomicFile file) : file_(std::move(file)) {}
  std::string UniqueName(std::string_view name);
  Status Write(std::string_view bytes);
  bool NeedsZip64(uint64_t value) const { return value >= zip64_from_; }
  std::string LocalHeader(const Entry& entry) const;
  std::string CentralHeader(const Entry& entry) const;
  std::string EndRecords(uint64_t directory_offset,
                         std::string_view comment) const;

  AtomicFile file_;
  uint64_t offset_ = 0;  // Bytes written so far.
  std::vector<Entry> entries_;
  // Names that are taken, and how often each was asked for.
  std::unordered_map<std::string, size_t> names_;
  bool open_ = false;     // The last entry is not complete yet.
  uint64_t missing_ = 0;  // Bytes of it.
  uint64_t zip64_from_ = 0xffffffffu;
};

}  // namespace lcsm::io
