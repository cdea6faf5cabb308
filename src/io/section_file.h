// Files of named sections behind a header in JSON: what sessions are saved in
// (docs/sessions.md has the layout byte by byte).
//
// Every part has a checksum, and the end has a mark: a file that is cut short
// anywhere or has a bit changed anywhere is refused, never read in part. A
// writer that does not get to Finish leaves nothing.
//
// Thread safety: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/atomic_file.h"
#include "io/mapped_file.h"
#include "lcsm/status.h"

namespace lcsm::io {

class SectionWriter {
 public:
  // `header` is an object in JSON. Errors: an output that cannot be written.
  static StatusOr<SectionWriter> Create(const std::filesystem::path& path,
                                        std::string_view header);
  // Errors: a full disk and the like.
  Status Put(std::string_view name, std::span<const std::byte> bytes);
  template <typename T>
  Status PutArray(std::string_view name, std::span<const T> values) {
    return Put(name, std::as_bytes(values));
  }
  // The file appears under its name.
  Status Finish();

 private:
  explicit SectionWriter(AtomicFile file) : file_(std::move(file)) {}
  AtomicFile file_;
};

// Sections are read in the order in which they were put.
class SectionReader {
 public:
  // Checks all of the file but the sections' contents. Errors: no such file, of
  // another kind, of a newer version, cut short, damaged.
  static StatusOr<SectionReader> Open(const std::filesystem::path& path);

  const std::string& header() const { return header_; }
  const std::string& name() const { return name_; }  // For messages.

  // The next section, which must have this name and exactly this size. Errors:
  // another one, damaged contents; `bytes` may then hold anything.
  Status Get(std::string_view name, std::span<std::byte> bytes);
  template <typename T>
  Status GetArray(std::string_view name, std::span<T> values) {
    return Get(name, std::as_writable_bytes(values));
  }
  // Bytes of the next section, 0 after the last.
  size_t NextSize() const;
  // Error: sections that nobody asked for.
  Status Finish() const;

 private:
  struct Section {
    std::string_view name;
    std::span<const std::byte> bytes;
    uint64_t checksum = 0;
  };
  SectionReader() = default;
  Status Damaged(std::string_view what) const;
  // Reads the section at `at` without its contents; an empty name is the end.
  StatusOr<Section> SectionAt(size_t at, size_t* next) const;

  std::shared_ptr<MappedFile> file_;
  std::string name_, header_;
  size_t at_ = 0;  // Of the next section.
};

}  // namespace lcsm::io
