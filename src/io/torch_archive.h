// The zip archive inside a torch checkpoint. For torch_checkpoint.cc.
//
// Entries are read whole, stored or deflated, and checked against their
// checksum; nothing is believed that costs memory before it is checked.
// Thread safety: one thread at a time.
#pragma once

#include <zip.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lcsm/status.h"

namespace lcsm::io {

class TorchArchive {
 public:
  // `max_entry_bytes`: what a single entry may unpack to, given the size of the
  // file; see CheckpointLimits.
  struct Limits {
    size_t entries = 0;
    size_t expansion = 0;
    size_t slack_bytes = 0;
  };

  static StatusOr<std::unique_ptr<TorchArchive>> Open(
      const std::filesystem::path& path, const Limits& limits);
  // `bytes` must outlive the archive.
  static StatusOr<std::unique_ptr<TorchArchive>> OpenBytes(
      std::span<const std::byte> bytes, const std::string& file,
      const Limits& limits);
  ~TorchArchive();
  TorchArchive(const TorchArchive&) = delete;
  TorchArchive& operator=(const TorchArchive&) = delete;

  // The folder inside the archive that everything stands in, with its slash;
  // found by its data.pkl.
  const std::string& root() const { return root_; }
  bool Has(const std::string& entry) const;
  // What the directory says it unpacks to. Precondition: Has(entry).
  size_t Size(const std::string& entry) const;
  StatusOr<std::vector<std::byte>> Read(const std::string& entry);
  // What may be unpacked from this file in one piece.
  size_t max_bytes() const { return max_bytes_; }

 private:
  struct Entry {
    zip_uint64_t index = 0;
    size_t bytes = 0;
    zip_uint16_t method = ZIP_CM_STORE;
  };

  explicit TorchArchive(std::string file) : file_(std::move(file)) {}
  Status Load(zip_source_t* source, size_t file_bytes, const Limits& limits);

  const std::string file_;
  zip_t* zip_ = nullptr;
  std::string root_;
  size_t max_bytes_ = 0;
  std::map<std::string, Entry> entries_;
};

}  // namespace lcsm::io
