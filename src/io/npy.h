// Float32 matrices as .npy files, row by row, and files of token ids.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/atomic_file.h"
#include "lcsm/status.h"

namespace lcsm::io {

// The header of a float32 array in C order: 128 bytes, for at most three
// dimensions.
std::string NpyHeader(std::span<const size_t> shape);

// Streams a float32 (rows, columns) array in C order. The file appears under
// its name at Finish or not at all.
class NpyWriter {
 public:
  // Without `rows` the header is completed at Finish, which needs an output
  // that can be rewritten: not a pipe. Errors: an output that cannot be made.
  static StatusOr<NpyWriter> Create(const std::filesystem::path& path,
                                    size_t columns, std::optional<size_t> rows);
  // Any number of whole rows. Errors: no whole number of rows, more than
  // announced, a full disk.
  Status Append(std::span<const float> values);
  // Error besides those: fewer rows than announced.
  Status Finish();

 private:
  NpyWriter(AtomicFile file, size_t columns, std::optional<size_t> rows)
      : file_(std::move(file)), columns_(columns), announced_(rows) {}
  AtomicFile file_;
  size_t columns_;
  std::optional<size_t> announced_;
  size_t rows_ = 0;
};

// Whitespace-separated token ids, each in [0, vocab). An error names the file,
// the line and the offending word. A file without any id is an error.
StatusOr<std::vector<int32_t>> ReadTokenIds(const std::filesystem::path& file,
                                            size_t vocab);
// `file` is for messages only.
StatusOr<std::vector<int32_t>> ParseTokenIds(std::string_view text,
                                             const std::string& file,
                                             size_t vocab);

}  // namespace lcsm::io
